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

{{/* Paths of the HTTPRoute as JSON. */}}
{{- define "llamacpp-app.routePaths" -}}
{{- $paths := .Values.httpRoute.paths -}}
{{- if not $paths -}}
{{- range $api := include "llamacpp-app.apis" . | fromJsonArray -}}
{{- if include "llamacpp-app.serves" (dict "ctx" $ "api" $api) -}}
{{- $paths = concat $paths (include "llamacpp-app.apiPaths" $api | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- concat $paths .Values.httpRoute.extraPaths | uniq | toJson -}}
{{- end -}}

{{/*
Paths of each host of an Ingress as JSON. Two Ingresses of one host clash where they share a path, so what an
earlier API's Ingress has on that host (`/v1/models`, `/health`) is left out. Takes {ctx, api}.
*/}}
{{- define "llamacpp-app.ingressPaths" -}}
{{- $taken := dict -}}
{{- $result := dict -}}
{{- $past := false -}}
{{- range $api := include "llamacpp-app.apis" . | fromJsonArray -}}
{{- $ingress := get $.ctx.Values.ingresses $api -}}
{{- if and $ingress.enabled (not $past) -}}
{{- range $host := uniq $ingress.hosts -}}
{{- $paths := $ingress.paths | default (include "llamacpp-app.apiPaths" $api | fromJsonArray) -}}
{{- $paths = concat $paths $ingress.extraPaths | uniq -}}
{{- $before := get $taken $host | default list -}}
{{- $left := list -}}
{{- range $paths }}{{ if not (has . $before) }}{{ $left = append $left . }}{{ end }}{{ end -}}
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
{{- $fullname := include "llamacpp-app.fullname" .ctx -}}
{{- $ingress := get .ctx.Values.ingresses .api -}}
{{- $paths := include "llamacpp-app.ingressPaths" . | fromJson -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "llamacpp-app.metadata" (dict "ctx" .ctx "component" "server" "name" (printf "%s-%s" $fullname .api) "annotations" $ingress.annotations) | nindent 2 }}
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
                name: {{ $fullname }}
                port:
                  name: http
          {{- end }}
    {{- end }}
{{- end -}}
