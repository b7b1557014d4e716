{{/* Names, labels, images and what all pods share. */}}

{{- define "llamacpp-app.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 48 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 48 characters, so that the longest suffix still fits in 63. */}}
{{- define "llamacpp-app.fullname" -}}
{{- $name := include "llamacpp-app.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "llamacpp-app.lbIpSecretName" -}}
{{- .Values.sealedSecret.nameOverride | default (printf "%s-lb-ip" (include "llamacpp-app.fullname" .)) -}}
{{- end -}}

{{- define "llamacpp-app.claimName" -}}
{{- .Values.persistence.existingClaim | default (include "llamacpp-app.fullname" .) -}}
{{- end -}}

{{- define "llamacpp-app.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "llamacpp-app.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "llamacpp-app.servicePort" -}}
{{- .Values.service.port | default .Values.server.port | int -}}
{{- end -}}

{{/* Takes {ctx, component}. */}}
{{- define "llamacpp-app.selectorLabels" -}}
app.kubernetes.io/name: {{ include "llamacpp-app.name" .ctx }}
app.kubernetes.io/instance: {{ .ctx.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Takes {ctx, component}. */}}
{{- define "llamacpp-app.labels" -}}
{{ include "llamacpp-app.selectorLabels" . }}
app.kubernetes.io/version: {{ .ctx.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .ctx.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .ctx.Chart.Name .ctx.Chart.Version | replace "+" "_" }}
{{- with .ctx.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Metadata of an object. Takes {ctx, component, name, annotations?}. */}}
{{- define "llamacpp-app.metadata" -}}
name: {{ .name }}
namespace: {{ .ctx.Release.Namespace }}
labels:
  {{- include "llamacpp-app.labels" . | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Argo CD's hook annotations as YAML. Takes {ctx, hook, wave}. */}}
{{- define "llamacpp-app.argoHook" -}}
{{- if .ctx.Values.argocd.enabled -}}
argocd.argoproj.io/hook: {{ .hook }}
argocd.argoproj.io/hook-delete-policy: BeforeHookCreation
argocd.argoproj.io/sync-wave: {{ .wave | quote }}
{{- end -}}
{{- end -}}

{{/*
Name of a Job. A Job's template is immutable: Argo CD deletes a hook before it makes it anew, Helm
does not. So `helm upgrade` gets a name that changes with the spec. Takes {ctx, name, spec}.
*/}}
{{- define "llamacpp-app.jobName" -}}
{{- $mode := .ctx.Values.jobNameSuffix -}}
{{- if or (eq $mode "hash") (and (eq $mode "auto") .ctx.Release.IsUpgrade) -}}
{{- printf "%s-%s" (.name | trunc 54 | trimSuffix "-") (.spec | sha256sum | trunc 8) -}}
{{- else -}}
{{- .name -}}
{{- end -}}
{{- end -}}

{{- define "llamacpp-app.serverImageFloats" -}}
{{- if and (has .Values.images.server.tag (list "" "latest")) (not .Values.images.server.digest) -}}true{{- end -}}
{{- end -}}

{{/* llama.cpp publishes `repository:flavour` and `repository:flavour-build`; there is no `…-latest`. */}}
{{- define "llamacpp-app.serverImage" -}}
{{- with .Values.images.server -}}
{{- $image := printf "%s:%s" .repository .name -}}
{{- if not (has .tag (list "" "latest")) -}}
{{- $image = printf "%s-%s" $image .tag -}}
{{- end -}}
{{- if .digest -}}
{{- $image = printf "%s@%s" .repository .digest -}}
{{- end -}}
{{- $image -}}
{{- end -}}
{{- end -}}

{{- define "llamacpp-app.serverPullPolicy" -}}
{{- .Values.images.pullPolicy | default (ternary "Always" "IfNotPresent" (eq "true" (include "llamacpp-app.serverImageFloats" .))) -}}
{{- end -}}

{{- define "llamacpp-app.fetchImage" -}}
{{- with .Values.images.fetch -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "llamacpp-app.fetchPullPolicy" -}}
{{- .Values.images.pullPolicy | default "IfNotPresent" -}}
{{- end -}}

{{/* True when only one node at a time can have the volume. */}}
{{- define "llamacpp-app.oneNodeVolume" -}}
{{- $modes := .Values.persistence.accessModes -}}
{{- if not (or (has "ReadWriteMany" $modes) (has "ReadOnlyMany" $modes)) -}}true{{- end -}}
{{- end -}}

{{/* Label of all pods that mount the claim: the affinity below and other releases on the claim find them by it. */}}
{{- define "llamacpp-app.claimLabel" -}}
modelfetch/claim: {{ include "llamacpp-app.claimName" . | trunc 63 | trimSuffix "-" | trimSuffix "." }}
{{- end -}}

{{/*
Affinity as YAML. Pods that mount a ReadWriteOnce claim go to the node of the pod that has it; the
scheduler admits the first of a group that selects itself. Takes {ctx, mountsClaim}.
*/}}
{{- define "llamacpp-app.affinity" -}}
{{- $affinity := deepCopy .ctx.Values.affinity -}}
{{- if and .mountsClaim .ctx.Values.persistence.coLocate (include "llamacpp-app.oneNodeVolume" .ctx) -}}
{{- $labels := include "llamacpp-app.claimLabel" .ctx | fromYaml -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" $labels) -}}
{{- $podAffinity := $affinity.podAffinity | default dict -}}
{{- $rule := "requiredDuringSchedulingIgnoredDuringExecution" -}}
{{- $_ := set $podAffinity $rule (append (get $podAffinity $rule | default list) $term) -}}
{{- $_ := set $affinity "podAffinity" $podAffinity -}}
{{- end -}}
{{- if $affinity }}{{ toYaml $affinity }}{{ end -}}
{{- end -}}

{{- define "llamacpp-app.tolerations" -}}
{{- $tolerations := .Values.tolerations -}}
{{- if .Values.gpu.enabled -}}
{{- $tolerations = prepend $tolerations (dict "key" "nvidia.com/gpu" "operator" "Exists" "effect" "NoSchedule") -}}
{{- end -}}
{{- if $tolerations }}{{ toYaml $tolerations }}{{ end -}}
{{- end -}}

{{/*
Scheduling and security that all pods share. Helpers go to the GPU nodes too: a local fetch image
is there, and a one-node cluster has no other. Takes {ctx, mountsClaim}.
*/}}
{{- define "llamacpp-app.podBasics" -}}
{{- with .ctx.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .ctx.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .ctx.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "llamacpp-app.tolerations" .ctx }}
tolerations:
  {{- . | nindent 2 }}
{{- end }}
{{- with include "llamacpp-app.affinity" . }}
affinity:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}
