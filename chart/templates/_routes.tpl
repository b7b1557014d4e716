{{/* Paths of the server's APIs, for Ingress and HTTPRoute, as JSON. Takes "completions" or "embeddings". */}}
{{- define "llamacpp-app.apiPaths" -}}
{{- $paths := dict
    "completions" (list "/v1/completions" "/v1/chat/completions" "/v1/responses" "/v1/messages" "/v1/models" "/health")
    "embeddings" (list "/v1/embeddings" "/v1/models" "/health") -}}
{{- get $paths . | toJson -}}
{{- end -}}

{{/* An Ingress. Takes {ctx, api}, where api is "completions" or "embeddings". */}}
{{- define "llamacpp-app.ingress" -}}
{{- $ctx := .ctx -}}
{{- $fullname := include "llamacpp-app.fullname" .ctx -}}
{{- $ingress := get .ctx.Values.ingresses .api -}}
{{- $paths := $ingress.paths | default (include "llamacpp-app.apiPaths" .api | fromJsonArray) -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "llamacpp-app.metadata" (dict "ctx" .ctx "component" "server" "name" (printf "%s-%s" $fullname .api) "annotations" $ingress.annotations) | nindent 2 }}
spec:
  {{- with $ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- with $ingress.tls }}
  tls:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    {{- range $ingress.hosts }}
    - host: {{ . | quote }}
      http:
        paths:
          {{- range $paths }}
          - path: {{ . }}
            pathType: Prefix
            backend:
              service:
                name: {{ $fullname }}
                port:
                  name: http
          {{- end }}
    {{- end }}
{{- end -}}
