{{- define "calls.typed" -}}
{{- $type := (index .a 0) -}}
{{- $value := (index .a 1) -}}
{{- range $_ := (list 1) -}}
{{- if (typeIs $type $value) -}}
{{- (dict "r" (list $value true)) | toJson -}}
{{- break -}}
{{- end -}}
{{- (dict "r" (list (coalesce nil) false)) | toJson -}}
{{- break -}}
{{- end -}}
{{- end -}}

{{- define "calls.or" -}}
{{- $given := (index .a 0) -}}
{{- range $_ := (list 1) -}}
{{- if (ne (toJson $given) "null") -}}
{{- (dict "r" $given) | toJson -}}
{{- break -}}
{{- else -}}{{- if (eq (len .a) 3) -}}
{{- (dict "r" "never") | toJson -}}
{{- break -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "calls.default" -}}
{{- $given := (index .a 0) -}}
{{- $other := (index .a 1) -}}
{{- range $_ := (list 1) -}}
{{- if (ne $given (coalesce nil)) -}}
{{- (dict "r" $given) | toJson -}}
{{- break -}}
{{- end -}}
{{- (dict "r" $other) | toJson -}}
{{- break -}}
{{- end -}}
{{- end -}}

{{- define "calls.quantity" -}}
{{- $text := (index .a 0) -}}
{{- range $_ := (list 1) -}}
{{- if (not (regexMatch `^[0-9]+(\.[0-9]{0,6})?(k|m|M|G|Ki|Mi|Gi)?$` $text)) -}}
{{- $_ := (fail (printf "no quantity: %q" $text)) -}}
{{- end -}}
{{- $unit := (regexFind "(k|m|M|G|Ki|Mi|Gi)$" $text) -}}
{{- $number := (float64 (substr (0 | int) ((sub ((len $text) | int) ((len $unit) | int)) | int) $text)) -}}
{{- $scale := (index (dict "" 1.0 "m" 0.001 "k" (1000 | int) "M" (1000000 | int) "G" (1000000000 | int) "Ki" (1024 | int) "Mi" (1048576 | int) "Gi" (1073741824 | int)) $unit) -}}
{{- (dict "r" (int64 (ceil ((mulf $number ($scale | float64)) | float64)))) | toJson -}}
{{- break -}}
{{- end -}}
{{- end -}}

{{- define "calls.seconds" -}}
{{- $text := (index .a 0) -}}
{{- range $_ := (list 1) -}}
{{- $done := false -}}
{{- $sum := ((0 | int64) | int64) -}}
{{- range $_, $_ := (list (0 | int) (0 | int) (0 | int)) -}}
{{- if (eq $text "") -}}
{{- break -}}
{{- end -}}
{{- $digits := (regexFind `^\d+` $text) -}}
{{- $text = (substr (len $digits) -1 $text) -}}
{{- $unit := (regexFind `^(h|m|s)` $text) -}}
{{- $text = (substr (len $unit) -1 $text) -}}
{{- $sum = ((add $sum ((mul (int64 $digits) (index (dict "h" 3600 "m" 60 "s" 1) $unit)) | int64)) | int64) -}}
{{- end -}}
{{- if $done -}}
{{- break -}}
{{- end -}}
{{- (dict "r" $sum) | toJson -}}
{{- break -}}
{{- end -}}
{{- end -}}

{{- define "calls.objects" -}}
{{- $dot := (index .a 0) -}}
{{- range $_ := (list 1) -}}
{{- $values := $dot.Values.AsMap -}}
{{- $found := (get (fromJson (include "calls.typed" (dict "a" (list "string" (index $dot.Values "mode"))))) "r") -}}
{{- $mode := (index $found 0) -}}
{{- $ok := (index $found 1) -}}
{{- $hosts := (coalesce nil) -}}
{{- range $_, $i := untilStep (((0 | int) | int)|int) ($values.replicas|int) (1|int) -}}
{{- $hosts = (concat (default (list ) $hosts) (list (printf "%s-%d.%.4s:%d" $dot.Release.Name $i "svc.example" ($values.ports.admin | int)))) -}}
{{- end -}}
{{- $data := (mustMergeOverwrite (dict "mode" "" "bytes" (coalesce nil)) (mustMergeOverwrite (dict) (dict "hosts" $hosts)) (dict "mode" (ternary $mode "none" (and $ok (ne $mode ""))) "bytes" (get (fromJson (include "calls.quantity" (dict "a" (list $values.disk)))) "r") "bits" (0o440 | int))) -}}
{{- range $k, $v := $values -}}
{{- if (or (eq (toJson $v) "null") (empty $v)) -}}
{{- $_ := (set $data (printf "no-%s" $k) true) -}}
{{- continue -}}
{{- end -}}
{{- end -}}
{{- $labels := (merge (dict ) $values.labels (dict "team" "blue" "app" (get (fromJson (include "calls.default" (dict "a" (list $values.owner $dot.Chart.Name)))) "r"))) -}}
{{- (dict "r" (list (mustMergeOverwrite (dict "metadata" (dict "creationTimestamp" (coalesce nil)) "status" (dict)) (dict "apiVersion" "v1" "kind" "ConfigMap" "metadata" (dict "name" "one" "labels" $labels) "data" (dict "all" ($data | toJson) "seconds" (get (fromJson (include "calls.seconds" (dict "a" (list $values.timeout)))) "r")))) (coalesce nil) (dict "apiVersion" "v1" "kind" "ConfigMap" "metadata" (dict "name" "two") "status" 1 "creationTimestamp" (coalesce nil)))) | toJson -}}
{{- break -}}
{{- end -}}
{{- end -}}

{{- define "calls.print" -}}
{{- $name := (index . 0) -}}
{{- $dot := (index . 1) -}}
{{- $objects := (get ((include $name (dict "a" (list $dot))) | fromJson) "r") -}}
{{- if not (typeIs "[]interface {}" $objects) -}}
{{- $objects = (list $objects) -}}
{{- end -}}
{{- range $_, $object := $objects -}}
{{- if ne (toJson $object) "null" }}
---
{{toYaml (unset (unset $object "status") "creationTimestamp")}}
{{- end -}}
{{- end -}}
{{- end -}}
