{{- define "args.deep" -}}
    {{- $path := .path -}}
    {{- range $key, $value := .content -}}
        {{- if kindIs "map" $value }}
            {{- include "args.deep" (dict "path" (printf "%s.%s" $path $key) "content" $value) -}}
        {{- else }}
            {{- with $value }}
--{{ join "." (list $path $key)}}={{ join "," $value }}
            {{- end -}}
        {{- end -}}
    {{- end -}}
{{- end -}}

{{- define "args.all" -}}
    {{- range ((regexSplit "\n" ((include "args.deep" (dict "path" .path "content" .content)) | trim) -1) | compact) -}}
      {{ printf "- \"%s\"\n" . }}
    {{- end -}}
{{- end -}}

{{- define "args.ini" }}
{{- range $key, $value := index .Values "app.ini" }}
  {{- if not (kindIs "map" $value) }}
  {{- if kindIs "invalid" $value }}
{{ $key }} =
  {{- else }}
{{ $key }} = {{ tpl (tpl $value $) $ }}
  {{- end }}
  {{- end }}
{{- end }}
{{- range $key, $value := index .Values "app.ini" }}
  {{- if kindIs "map" $value }}
[{{ $key }}]
  {{- range $word, $given := $value }}
  {{- if kindIs "invalid" $given }}
{{ $word }} =
  {{- else if kindIs "string" $given }}
{{ $word }} = {{ tpl $given $ }}
  {{- else }}
{{ $word }} = {{ $given }}
  {{- end }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end -}}
