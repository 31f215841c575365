{{- define "rules.key" -}}
{{- without (regexSplit "[-_.]" .name -1) "exporter" "rules" | join "-" | camelcase | untitle -}}
{{- end -}}
{{- define "rules.name" -}}
{{- printf "%s-%s" .Release.Name (.name | replace "_" "") | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- define "rules.labels" -}}
{{- $labels := dict "app" .Chart.Name "from" (base .Template.Name) }}
{{- $labels = mergeOverwrite $labels (deepCopy .Values.rules.labels) -}}
{{- toYaml $labels -}}
{{- end -}}
