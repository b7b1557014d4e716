{{/* One scrape endpoint of a ServiceMonitor or PodMonitor. Takes {ctx, interval}. */}}
{{- define "llamacpp-app.scrapeEndpoint" -}}
port: http
path: /metrics
interval: {{ .interval }}
{{- with .ctx.Values.server.apiKeySecret }}
{{- if .name }}
# With API keys the server asks for one here, too.
authorization:
  type: Bearer
  credentials:
    name: {{ .name }}
    key: {{ .key }}
{{- end }}
{{- end }}
{{- end -}}
