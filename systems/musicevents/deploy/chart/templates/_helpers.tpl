{{/* The name of the chart, or what the values say in its place. */}}
{{- define "musicevents.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/*
What names of objects begin with: release and chart, or the release alone when its name has the chart's in it. 52 characters,
so that "-database" and the hash of a pod still fit.
*/}}
{{- define "musicevents.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "musicevents.name" . -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- $full | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What a component's pods are found by. Takes a list of the root and the component's name. Must never change. */}}
{{- define "musicevents.selectorLabels" -}}
{{- $root := first . -}}
app.kubernetes.io/name: {{ include "musicevents.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end -}}

{{/* Labels of a component's objects. Pods have only those above: a new version of the chart is no reason to replace them. */}}
{{- define "musicevents.labels" -}}
{{- $root := first . -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "musicevents.selectorLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{- end -}}

{{/* The host that answers for the database. */}}
{{- define "musicevents.databaseHost" -}}
{{- if .Values.database.enabled -}}
{{- printf "%s-database" (include "musicevents.fullname" .) -}}
{{- else -}}
{{- required "database.host is needed when database.enabled is false" .Values.database.host -}}
{{- end -}}
{{- end -}}

{{/* User and password of the database, as environment variables of the given names. Takes a list: root, user, password. */}}
{{- define "musicevents.databaseCredentials" -}}
{{- $database := (first .).Values.database -}}
- name: {{ index . 1 }}
  valueFrom:
    secretKeyRef:
      name: {{ $database.secretName }}
      key: {{ $database.userKey }}
- name: {{ index . 2 }}
  valueFrom:
    secretKeyRef:
      name: {{ $database.secretName }}
      key: {{ $database.passwordKey }}
{{- end -}}
