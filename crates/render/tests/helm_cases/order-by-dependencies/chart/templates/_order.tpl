{{- /* the names of .graph, each behind those it needs, in .out */ -}}
{{- define "order.sort" -}}
  {{- $graph := .graph -}}
  {{- if empty $graph -}}
    {{- $_ := set . "out" list -}}
  {{- else -}}
    {{- $free := list -}}
    {{- range $node, $needs := $graph -}}
      {{- if empty $needs -}}
        {{- $free = append $free $node -}}
      {{- end -}}
    {{- end -}}
    {{- if empty $free -}}
      {{- fail (printf "a circle is left:\n%s" (.graph | toYaml)) }}
    {{- end -}}
    {{- $next := first $free -}}
    {{- $_ := unset $graph $next -}}
    {{- range $node, $needs := $graph -}}
      {{- $_ := set $graph $node (without $needs $next) -}}
    {{- end -}}
    {{- $rest := dict "graph" $graph "out" list -}}
    {{- include "order.sort" $rest -}}
    {{- $_ = set . "out" (concat (list $next) $rest.out) -}}
  {{- end -}}
{{- end }}

{{- define "order.env" -}}
  {{- $graph := dict -}}
  {{- $all := dict -}}
  {{- range $name, $given := .Values.env -}}
    {{- if kindIs "map" $given -}}
      {{- $_ := set $graph $name ($given.after | default list) -}}
      {{- $_ := set $all $name (hasKey $given "from" | ternary (dict "valueFrom" (index $given "from")) (dict "value" (toString $given.value))) -}}
    {{- else -}}
      {{- $_ := set $graph $name list -}}
      {{- $_ := set $all $name (dict "value" (kindIs "bool" $given | ternary (quote $given) $given)) -}}
    {{- end -}}
  {{- end -}}
  {{- $args := dict "graph" $graph -}}
  {{- include "order.sort" $args -}}
  {{- range $args.out }}
- name: {{ . }}
  {{- toYaml (index $all .) | nindent 2 }}
  {{- end -}}
{{- end -}}
