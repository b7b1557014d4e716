{{/* Names, labels, images and what all pods share. */}}

{{- define "llamacpp-app.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 48 | trimSuffix "-" -}}
{{- end -}}

{{/*
At most 48 characters, so that the longest suffix still fits in 63. A Service's name has no dot and begins
with a letter; a release's may be otherwise.
*/}}
{{- define "llamacpp-app.fullname" -}}
{{- $name := include "llamacpp-app.name" . -}}
{{- $fullname := .Values.fullnameOverride -}}
{{- if not $fullname -}}
{{- $fullname = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- $fullname = $fullname | replace "." "-" -}}
{{- if regexMatch "^[0-9]" $fullname -}}
{{- $fullname = printf "llama-%s" $fullname -}}
{{- end -}}
{{- $fullname | trunc 48 | trimSuffix "-" -}}
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

{{/*
Labels by which objects are selected; nothing of the user's may change them. A server with a model of its own has one
more, so that those of the release alone select all servers. Takes {ctx, component}.
*/}}
{{- define "llamacpp-app.selectorLabels" -}}
{{- $labels := dict
    "app.kubernetes.io/name" (include "llamacpp-app.name" .ctx)
    "app.kubernetes.io/instance" .ctx.Release.Name
    "app.kubernetes.io/component" .component -}}
{{- if and .ctx.Model (eq .component "server") -}}
{{- $_ := set $labels "modelfetch/model" (include "llamacpp-app.modelLabel" .ctx.Model) -}}
{{- end -}}
{{- toYaml $labels -}}
{{- end -}}

{{/* Takes {ctx, component, labels?}, where `labels` are the object's own. */}}
{{- define "llamacpp-app.labels" -}}
{{- $chart := dict
    "app.kubernetes.io/version" .ctx.Chart.AppVersion
    "app.kubernetes.io/managed-by" .ctx.Release.Service
    "helm.sh/chart" (printf "%s-%s" .ctx.Chart.Name .ctx.Chart.Version | replace "+" "_") -}}
{{- $selected := include "llamacpp-app.selectorLabels" . | fromYaml -}}
{{- include "llamacpp-app.overlay" (list $chart .ctx.Values.commonLabels (.labels | default dict) $selected) | fromJson | toYaml -}}
{{- end -}}

{{/* Metadata of an object. Takes {ctx, component, name, labels?, annotations?}. */}}
{{- define "llamacpp-app.metadata" -}}
name: {{ .name | quote }}
namespace: {{ .ctx.Release.Namespace | quote }}
labels:
  {{- include "llamacpp-app.labels" . | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Metadata of a pod. Takes {ctx, component, claim?, labels, annotations}; `claim` marks it as one that mounts the claim. */}}
{{- define "llamacpp-app.podMetadata" -}}
{{- $claim := .claim | ternary (include "llamacpp-app.claimLabel" .ctx | fromYaml) dict -}}
labels:
  {{- include "llamacpp-app.overlay" (list .labels (include "llamacpp-app.selectorLabels" . | fromYaml) $claim) | fromJson | toYaml | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Argo CD's hook annotations as YAML. Takes {ctx, hook, wave, deletePolicy?}. */}}
{{- define "llamacpp-app.argoHook" -}}
{{- if .ctx.Values.argocd.enabled -}}
argocd.argoproj.io/hook: {{ .hook }}
argocd.argoproj.io/hook-delete-policy: {{ .deletePolicy | default "BeforeHookCreation" }}
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

{{/* "true" when another image may be behind the same reference tomorrow. */}}
{{- define "llamacpp-app.serverImageFloats" -}}
{{- $image := include "llamacpp-app.serverImage" . -}}
{{- $tag := regexFind ":[^:/@]+$" $image | trimPrefix ":" -}}
{{- if not (contains "@" $image) -}}
{{- if or (has $tag (list "" "latest")) (eq $tag (include "llamacpp-app.gpu" . | fromJson).flavour) (and (regexMatch "^(server|full|light)(-[a-z]+[0-9]*)?$" $tag) (not (regexMatch "-b[0-9]+$" $tag))) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/*
llama.cpp publishes `repository:flavour` and `repository:flavour-build`; there is no `…-latest`. A tag that
has its flavour is taken as it is.
*/}}
{{- define "llamacpp-app.serverImage" -}}
{{- $flavour := (include "llamacpp-app.gpu" . | fromJson).flavour -}}
{{- with .Values.images.server -}}
{{- if .image -}}
{{- .image -}}
{{- else -}}
{{- $parts := splitList "@" .tag -}}
{{- $tag := first $parts -}}
{{- $digest := .digest | default (rest $parts | join "") -}}
{{- $floats := has $tag (list "" "latest") -}}
{{- $whole := or (eq $flavour "") (eq $tag $flavour) (hasPrefix (printf "%s-" $flavour) $tag) (regexMatch "^(server|full|light)(-|$)" $tag) -}}
{{- if $floats -}}
{{- $tag = $flavour | default $tag -}}
{{- else if not $whole -}}
{{- $tag = printf "%s-%s" $flavour $tag -}}
{{- end -}}
{{- /* A moving tag beside a digest would say something untrue. */ -}}
{{- $image := .repository -}}
{{- if and $tag (not (and $digest $floats)) -}}
{{- $image = printf "%s:%s" $image $tag -}}
{{- end -}}
{{- ternary (printf "%s@%s" $image $digest) $image (ne $digest "") -}}
{{- end -}}
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
{{- if not (or .Values.persistence.volume (has "ReadWriteMany" $modes) (has "ReadOnlyMany" $modes)) -}}true{{- end -}}
{{- end -}}

{{/* Label of all pods that mount the claim: the affinity below and other releases on the claim find them by it. */}}
{{- define "llamacpp-app.claimLabel" -}}
modelfetch/claim: {{ include "llamacpp-app.claimName" . | trunc 63 | trimSuffix "-" | trimSuffix "." | quote }}
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
{{- with (include "llamacpp-app.gpu" . | fromJson).taint -}}
{{- $tolerations = prepend $tolerations (dict "key" . "operator" "Exists" "effect" "NoSchedule") -}}
{{- end -}}
{{- if $tolerations }}{{ toYaml $tolerations }}{{ end -}}
{{- end -}}

{{/* Labels of the nodes, as YAML. The key `gpu` is a default that a user's map can't take out. */}}
{{- define "llamacpp-app.nodeSelector" -}}
{{- $labels := .Values.nodeSelector -}}
{{- if not (and (include "llamacpp-app.usesGpu" .) .Values.gpu.nodeLabel) -}}
{{- $labels = omit $labels "gpu" -}}
{{- end -}}
{{- if $labels }}{{ toYaml $labels }}{{ end -}}
{{- end -}}

{{/* A pod's security context as YAML. Takes {ctx, over}, where `over` is laid over the one of all pods. */}}
{{- define "llamacpp-app.podSecurity" -}}
{{- $shared := .ctx.Values.podSecurityContext -}}
{{- if .ctx.Values.openshift.enabled -}}
{{- $shared = omit $shared "runAsUser" "runAsGroup" "fsGroup" -}}
{{- end -}}
{{- with include "llamacpp-app.overlay" (list $shared (.over | default dict)) | fromJson | include "llamacpp-app.withoutEmpty" | fromJson -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{/*
A container's security context as YAML. Takes {ctx, over}, where `over` is laid over the one of all containers.
The API refuses a privileged container, or one with SYS_ADMIN, that may not gain privileges.
*/}}
{{- define "llamacpp-app.containerSecurity" -}}
{{- $context := include "llamacpp-app.overlay" (list .ctx.Values.securityContext (.over | default dict)) | fromJson | include "llamacpp-app.withoutEmpty" | fromJson -}}
{{- $added := ($context.capabilities | default dict).add | default list -}}
{{- if or $context.privileged (has "SYS_ADMIN" $added) (has "CAP_SYS_ADMIN" $added) -}}
{{- $context = omit $context "allowPrivilegeEscalation" -}}
{{- end -}}
{{- if $context }}{{ toYaml $context }}{{ end -}}
{{- end -}}

{{/* Resources as YAML, without the quantities that are left empty. */}}
{{- define "llamacpp-app.resources" -}}
{{- $resources := dict -}}
{{- range $kind, $quantities := . -}}
{{- if kindIs "map" $quantities -}}
{{- with include "llamacpp-app.withoutEmpty" $quantities | fromJson -}}
{{- $_ := set $resources $kind . -}}
{{- end -}}
{{- else -}}
{{- $_ := set $resources $kind $quantities -}}
{{- end -}}
{{- end -}}
{{- if $resources }}{{ toYaml $resources }}{{ end -}}
{{- end -}}

{{/*
Scheduling and security that all pods share. Helpers go to the GPU nodes too: a local fetch image
is there, and a one-node cluster has no other. Takes {ctx, mountsClaim, security?}.
*/}}
{{- define "llamacpp-app.podBasics" -}}
{{- with .ctx.Values.imagePullSecrets }}
imagePullSecrets:
  {{- uniq . | toYaml | nindent 2 }}
{{- end }}
{{- with include "llamacpp-app.podSecurity" (dict "ctx" .ctx "over" .security) }}
securityContext:
  {{- . | nindent 2 }}
{{- end }}
{{- with include "llamacpp-app.nodeSelector" .ctx }}
nodeSelector:
  {{- . | nindent 2 }}
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
