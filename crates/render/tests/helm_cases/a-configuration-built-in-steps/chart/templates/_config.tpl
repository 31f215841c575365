{{- define "steps.otlp" -}}
traces:
  processors:
    - batch:
        endpoint: {{ default .Values.telemetry.endpoint (.Values.telemetry.traces).endpoint }}
        {{- if or .Values.telemetry.headers (.Values.telemetry.traces).headers }}
        headers:
          {{- toYaml (default .Values.telemetry.headers (.Values.telemetry.traces).headers) | nindent 10 }}
        {{- end }}
{{- end }}

{{- define "steps.readers" -}}
metrics:
  readers:
    - host: {{ .address._0 | replace "{env!" "{env:" }}
      port: {{ .address._1 }}
      {{- if .Values.config.service.resource }}
      included:
      {{- range (keys .Values.config.service.resource | sortAlpha) }}
      - {{ println . }}
      {{- end }}
      {{- end }}
{{- end }}

{{- define "steps.base" -}}
{{- if .Values.alternate }}
{{- .Values.alternate | toYaml }}
{{- else}}
{{- $config := deepCopy .Values.config }}
{{- $_ := set $config.service "telemetry" (mustMerge ($config.service.telemetry | default dict) (include "steps.otlp" . | fromYaml)) }}
{{- if .Values.config.service.metrics.address }}
{{- $address := .Values.config.service.metrics.address | replace "{env:" "{env!" | split ":" }}
{{- $_ := unset $config.service.metrics "address" }}
{{- $_ := set $config.service "telemetry" (mustMerge (include "steps.readers" (mustMerge (dict "address" $address) .) | fromYaml) $config.service.telemetry) }}
{{- end }}
{{- $config | toYaml }}
{{- end }}
{{- end }}

{{- define "steps.hostConfig" -}}
receivers:
  host:
    root: /host
    scrapers:
        cpu:
        disk:
          exclude: ['^/dev($|/)', '^/sys($|/)']
{{- end }}

{{- define "steps.host" -}}
{{- $config := mustMergeOverwrite (dict "service" (dict "pipelines" (dict "metrics" (dict "receivers" list)))) (include "steps.hostConfig" .Values | fromYaml) .config }}
{{- $_ := set $config.service.pipelines.metrics "receivers" (append $config.service.pipelines.metrics.receivers "host" | uniq)  }}
{{- $config | toYaml }}
{{- end }}

{{- define "steps.logsConfig" -}}
{{- if .Values.presets.logs.keep }}
extensions:
  storage:
    directory: /var/lib/x
{{- end }}
receivers:
  files:
    include: [ /var/log/pods/*/*/*.log ]
    exclude: [ /var/log/pods/{{ .Release.Namespace }}_{{ .Release.Name }}*_*/{{ .Chart.Name }}/*.log ]
    operators:
      - type: container
        max: {{ $.Values.presets.logs.max }}
{{- end }}

{{- define "steps.logs" -}}
{{- $config := mustMergeOverwrite (dict "service" (dict "pipelines" (dict "logs" (dict "receivers" list)))) (include "steps.logsConfig" .Values | fromYaml) .config }}
{{- $_ := set $config.service.pipelines.logs "receivers" (append ($config.service.pipelines.logs.receivers | default list) "files" | uniq)  }}
{{- if .Values.Values.presets.logs.keep }}
{{- $extensions := mustMergeOverwrite (dict "service" (dict "extensions" list)) $config }}
{{- $_ := set $config.service "extensions" (append $extensions.service.extensions "storage" | uniq)  }}
{{- end }}
{{- $config | toYaml }}
{{- end }}

{{- define "steps.printed" -}}
{{- $config := .config }}
{{- $resource := dig "service" "resource" dict $config }}
{{- range $key, $value := $resource }}
{{- if and (kindIs "string" $value) (ne $value "") }}
{{- $_ := set $resource $key (printf "!!str %s" $value) }}
{{- end }}
{{- end }}
{{- $text := tpl (toYaml $config) .ctx }}
{{- regexReplaceAll "'(!!str [^']*)'" $text "${1}" }}
{{- end }}

{{- define "steps.all" -}}
{{- $values := deepCopy .Values }}
{{- $data := dict "Values" $values | mustMergeOverwrite (deepCopy .) }}
{{- $config := include "steps.base" $data | fromYaml }}
{{- range $name, $on := dict "logs" .Values.presets.logs.enabled "host" .Values.presets.host }}
{{- if $on }}
{{- $config = (include (printf "steps.%s" $name) (dict "Values" $data "config" $config) | fromYaml) }}
{{- end }}
{{- end }}
{{- include "steps.printed" (dict "config" $config "ctx" .) }}
{{- end }}
