{{/*
Spec of a Job that runs `modelfetch cluster …` against the API server. Takes {ctx, component,
serviceAccountName, backoffLimit, activeDeadlineSeconds, args, env?, claimManifest?}.
*/}}
{{- define "llamacpp-app.helperJobSpec" -}}
backoffLimit: {{ .backoffLimit | int }}
activeDeadlineSeconds: {{ .activeDeadlineSeconds | int }}
template:
  metadata:
    {{- $manifest := dict -}}
    {{- with .claimManifest }}{{ $_ := set $manifest "modelfetch/claim-manifest" . }}{{ end -}}
    {{- include "llamacpp-app.podMetadata" (dict
        "ctx" .ctx
        "component" .component
        "claim" false
        "labels" .ctx.Values.helpers.podLabels
        "annotations" (include "llamacpp-app.overlay" (list .ctx.Values.helpers.podAnnotations $manifest) | fromJson)
      ) | nindent 4 }}
  spec:
    restartPolicy: Never
    serviceAccountName: {{ .serviceAccountName | quote }}
    automountServiceAccountToken: true
    enableServiceLinks: false
    {{- include "llamacpp-app.podBasics" (dict "ctx" .ctx "mountsClaim" false) | trim | nindent 4 }}
    containers:
      - name: {{ .component }}
        image: {{ include "llamacpp-app.fetchImage" .ctx | quote }}
        imagePullPolicy: {{ include "llamacpp-app.fetchPullPolicy" .ctx }}
        args:
          {{- toYaml .args | nindent 10 }}
        env:
          - name: POD_NAMESPACE
            valueFrom:
              fieldRef:
                fieldPath: metadata.namespace
          {{- with .env }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
        resources:
          requests:
            cpu: 10m
            memory: 16Mi
          limits:
            memory: 64Mi
        {{- with include "llamacpp-app.containerSecurity" (dict "ctx" .ctx "over" .ctx.Values.helpers.securityContext) }}
        securityContext:
          {{- . | nindent 10 }}
        {{- end }}
        terminationMessagePolicy: FallbackToLogsOnError
        {{- if .claimManifest }}
        volumeMounts:
          - name: claim-manifest
            mountPath: /etc/modelfetch
            readOnly: true
        {{- end }}
    {{- if .claimManifest }}
    volumes:
      # The manifest travels in the pod's own annotation: no ConfigMap has to be there before the hook.
      - name: claim-manifest
        downwardAPI:
          items:
            - path: claim.json
              fieldRef:
                fieldPath: metadata.annotations['modelfetch/claim-manifest']
    {{- end }}
{{- end -}}
