{{/* The GPU by dynamic resource allocation. */}}

{{- define "llamacpp-app.makesClaimTemplate" -}}
{{- with .Values.gpu.dra -}}
{{- if and .enabled (not .claimTemplateName) (not .claimName) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{- define "llamacpp-app.claimTemplateSpec" -}}
{{- $dra := .Values.gpu.dra -}}
{{- $gpu := include "llamacpp-app.gpu" . | fromJson -}}
spec:
  devices:
    requests:
      - name: gpu
        exactly:
          deviceClassName: {{ $gpu.class | quote }}
          allocationMode: ExactCount
          count: {{ .Values.gpu.number | int }}
          {{- if $dra.adminAccess }}
          adminAccess: true
          {{- end }}
          {{- with $dra.selectors }}
          selectors:
            {{- range . }}
            - cel:
                expression: {{ . | quote }}
            {{- end }}
          {{- end }}
{{- end -}}

{{/* A template's spec is immutable, so another spec is another template. */}}
{{- define "llamacpp-app.claimTemplateName" -}}
{{- .Values.gpu.dra.claimTemplateName | default (printf "%s-gpu-%s" (include "llamacpp-app.serverName" .) (include "llamacpp-app.claimTemplateSpec" . | sha256sum | trunc 8)) -}}
{{- end -}}

{{/* The pod's claim as YAML. */}}
{{- define "llamacpp-app.resourceClaim" -}}
name: gpu
{{- if .Values.gpu.dra.claimName }}
resourceClaimName: {{ .Values.gpu.dra.claimName | quote }}
{{- else }}
resourceClaimTemplateName: {{ include "llamacpp-app.claimTemplateName" . | quote }}
{{- end }}
{{- end -}}
