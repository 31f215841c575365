{{ define "extra" }}data:
  k: from app
metadata:
  labels: {l: x}
{{ end }}