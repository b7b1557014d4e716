{{/* Maps and lists that come from the chart and from the user, put together so that no key and no name stands twice. */}}

{{/* Maps laid over each other, the last one wins, as JSON. Takes a list of maps. */}}
{{- define "llamacpp-app.overlay" -}}
{{- $result := dict -}}
{{- range . -}}
{{- range $key, $value := . -}}
{{- $_ := set $result $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $result -}}
{{- end -}}

{{/* Values laid over others as helm does it, map by map, as JSON; a null takes a key out. Takes a list of two maps. */}}
{{- define "llamacpp-app.laidOver" -}}
{{- $result := deepCopy (index . 0) -}}
{{- range $key, $value := index . 1 -}}
{{- $under := get $result $key -}}
{{- if kindIs "invalid" $value -}}
{{- $result = omit $result $key -}}
{{- else if and (kindIs "map" $under) (kindIs "map" $value) -}}
{{- $_ := set $result $key (include "llamacpp-app.laidOver" (list $under $value) | fromJson) -}}
{{- else -}}
{{- $_ := set $result $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $result -}}
{{- end -}}

{{/*
A map without its empty texts, as JSON. They take a default out where `null` can't: Argo CD's
`valuesObject` and Flux lose a `null` before helm sees it.
*/}}
{{- define "llamacpp-app.withoutEmpty" -}}
{{- $result := dict -}}
{{- range $key, $value := . -}}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) -}}
{{- $_ := set $result $key $value -}}
{{- end -}}
{{- end -}}
{{- toJson $result -}}
{{- end -}}

{{/* Entries of a list keyed by `name`, with the user's in the place of the chart's, as YAML. Takes {entries, extra}. */}}
{{- define "llamacpp-app.named" -}}
{{- $extra := dict -}}
{{- range .extra -}}
{{- $_ := set $extra .name . -}}
{{- end -}}
{{- $result := list -}}
{{- range .entries -}}
{{- if not (hasKey $extra .name) -}}
{{- $result = append $result . -}}
{{- end -}}
{{- end -}}
{{- concat $result .extra | toYaml -}}
{{- end -}}

{{/* The names that stand more than once in a list of texts, as JSON. */}}
{{- define "llamacpp-app.twice" -}}
{{- $seen := dict -}}
{{- $twice := list -}}
{{- range . -}}
{{- if hasKey $seen . }}{{ $twice = append $twice . }}{{ end -}}
{{- $_ := set $seen . true -}}
{{- end -}}
{{- $twice | uniq | toJson -}}
{{- end -}}
