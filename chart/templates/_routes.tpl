{{/* Paths of the server's APIs, for Ingress and HTTPRoute. An empty list of paths means "all" to both, so none is ever rendered. */}}

{{- define "llamacpp-app.apis" -}}
{{- list "completions" "embeddings" "reranking" | toJson -}}
{{- end -}}

{{/* "true" when the server offers the API. Takes {ctx, api}. */}}
{{- define "llamacpp-app.serves" -}}
{{- if eq .api "reranking" -}}
{{- include "llamacpp-app.reranks" .ctx -}}
{{- else if get .ctx.Values.server .api -}}true
{{- else if eq .api "embeddings" -}}
{{- range .ctx.Values.models }}{{ range .args }}{{ if has (toString .) (list "--embedding" "--embeddings") }}true{{ end }}{{ end }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Paths of an API as JSON. Takes its name. */}}
{{- define "llamacpp-app.apiPaths" -}}
{{- $paths := dict
    "completions" (list "/v1/completions" "/v1/chat/completions" "/v1/responses" "/v1/messages" "/v1/models" "/health")
    "embeddings" (list "/v1/embeddings" "/v1/models" "/health")
    "reranking" (list "/v1/rerank" "/v1/reranking" "/rerank" "/reranking" "/v1/models" "/health") -}}
{{- get $paths . | toJson -}}
{{- end -}}

{{/* Paths of the HTTPRoute as JSON, without those that an earlier server's route has for the same hosts. */}}
{{- define "llamacpp-app.routePaths" -}}
{{- $taken := list -}}
{{- range include "llamacpp-app.ofEarlierServers" (dict "ctx" . "template" "llamacpp-app.wantedRoute") | fromJsonArray -}}
{{- $earlier := fromJson . -}}
{{- if eq (join "," $earlier.hostnames) (join "," $.Values.httpRoute.hostnames) }}{{ $taken = concat $taken $earlier.paths }}{{ end -}}
{{- end -}}
{{- $left := list -}}
{{- range (include "llamacpp-app.wantedRoute" . | fromJson).paths }}{{ if not (has . $taken) }}{{ $left = append $left . }}{{ end }}{{ end -}}
{{- toJson $left -}}
{{- end -}}

{{/* What the HTTPRoute would have if it were alone, as JSON {hostnames, paths}. */}}
{{- define "llamacpp-app.wantedRoute" -}}
{{- $paths := list -}}
{{- if .Values.httpRoute.enabled -}}
{{- $paths = .Values.httpRoute.paths -}}
{{- if not $paths -}}
{{- range $api := include "llamacpp-app.apis" . | fromJsonArray -}}
{{- if include "llamacpp-app.serves" (dict "ctx" $ "api" $api) -}}
{{- $paths = concat $paths (include "llamacpp-app.apiPaths" $api | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $paths = concat $paths .Values.httpRoute.extraPaths | uniq -}}
{{- end -}}
{{- dict "hostnames" .Values.httpRoute.hostnames "paths" $paths | toJson -}}
{{- end -}}

{{/* The paths that an API's Ingress would have if it were alone, as JSON. Takes {ctx, api}. */}}
{{- define "llamacpp-app.wantedPaths" -}}
{{- $ingress := get .ctx.Values.ingresses .api -}}
{{- $paths := $ingress.paths | default (include "llamacpp-app.apiPaths" .api | fromJsonArray) -}}
{{- concat $paths $ingress.extraPaths | uniq | toJson -}}
{{- end -}}

{{/* The paths of all of a server's Ingresses, by host, as JSON. */}}
{{- define "llamacpp-app.hostPaths" -}}
{{- $result := dict -}}
{{- range $api := include "llamacpp-app.apis" . | fromJsonArray -}}
{{- $ingress := get $.Values.ingresses $api -}}
{{- if $ingress.enabled -}}
{{- range $host := uniq $ingress.hosts -}}
{{- $paths := include "llamacpp-app.wantedPaths" (dict "ctx" $ "api" $api) | fromJsonArray -}}
{{- $_ := set $result $host (concat (get $result $host | default list) $paths) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $result -}}
{{- end -}}

{{/*
Paths of each host of an Ingress as JSON. Two Ingresses of one host clash where they share a path, so what the Ingress
of an earlier API or server has on that host (`/v1/models`, `/health`) is left out. Takes {ctx, api}.
*/}}
{{- define "llamacpp-app.ingressPaths" -}}
{{- $taken := dict -}}
{{- range include "llamacpp-app.ofEarlierServers" (dict "ctx" .ctx "template" "llamacpp-app.hostPaths") | fromJsonArray -}}
{{- range $host, $paths := fromJson . }}{{ $_ := set $taken $host (concat (get $taken $host | default list) $paths) }}{{ end -}}
{{- end -}}
{{- $result := dict -}}
{{- $past := false -}}
{{- range $api := include "llamacpp-app.apis" . | fromJsonArray -}}
{{- $ingress := get $.ctx.Values.ingresses $api -}}
{{- if and $ingress.enabled (not $past) -}}
{{- range $host := uniq $ingress.hosts -}}
{{- $before := get $taken $host | default list -}}
{{- $left := list -}}
{{- range include "llamacpp-app.wantedPaths" (dict "ctx" $.ctx "api" $api) | fromJsonArray }}{{ if not (has . $before) }}{{ $left = append $left . }}{{ end }}{{ end -}}
{{- if eq $api $.api }}{{ $_ := set $result $host $left }}{{ end -}}
{{- $_ := set $taken $host (concat $before $left) -}}
{{- end -}}
{{- end -}}
{{- if eq $api $.api }}{{ $past = true }}{{ end -}}
{{- end -}}
{{- toJson $result -}}
{{- end -}}

{{/* An Ingress. Takes {ctx, api}. */}}
{{- define "llamacpp-app.ingress" -}}
{{- $name := include "llamacpp-app.serverName" .ctx -}}
{{- $ingress := get .ctx.Values.ingresses .api -}}
{{- $paths := include "llamacpp-app.ingressPaths" . | fromJson -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "llamacpp-app.metadata" (dict "ctx" .ctx "component" "server" "name" (printf "%s-%s" $name .api) "annotations" $ingress.annotations) | nindent 2 }}
spec:
  {{- with $ingress.className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  {{- with $ingress.tls }}
  tls:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    {{- range uniq $ingress.hosts }}
    - host: {{ . | quote }}
      http:
        paths:
          {{- range get $paths . }}
          - path: {{ . | quote }}
            pathType: Prefix
            backend:
              service:
                name: {{ $name }}
                port:
                  name: http
          {{- end }}
    {{- end }}
{{- end -}}
