{{/* The load balancer's address: where it comes from, where it is written, and the Job that writes it. */}}

{{/* The annotation that the provider reads; empty when the address goes into spec.loadBalancerIP. */}}
{{- define "llamacpp-app.lbAnnotationKey" -}}
{{- $keys := dict
    "metallb" "metallb.io/loadBalancerIPs"
    "kube-vip" "kube-vip.io/loadbalancerIPs"
    "cilium" "lbipam.cilium.io/ips"
    "spec" "" -}}
{{- with .Values.service.loadBalancer -}}
{{- .annotationKey | default (get $keys .provider) -}}
{{- end -}}
{{- end -}}

{{/* The plain addresses as a JSON list. */}}
{{- define "llamacpp-app.addresses" -}}
{{- without (splitList "," (nospace .Values.service.loadBalancerIP)) "" | toJson -}}
{{- end -}}

{{/* IP families of the Service as JSON: those asked for, else those of the plain addresses where one is IPv6. */}}
{{- define "llamacpp-app.ipFamilies" -}}
{{- $families := .Values.service.ipFamilies -}}
{{- if and (not $families) (contains ":" .Values.service.loadBalancerIP) -}}
{{- range include "llamacpp-app.addresses" . | fromJsonArray -}}
{{- $families = append $families (ternary "IPv6" "IPv4" (contains ":" .)) -}}
{{- end -}}
{{- end -}}
{{- toJson $families -}}
{{- end -}}

{{/* Two addresses need both families: a cluster that has one shall say so, not leave an address out. */}}
{{- define "llamacpp-app.ipFamilyPolicy" -}}
{{- if .Values.service.ipFamilyPolicy -}}
{{- .Values.service.ipFamilyPolicy -}}
{{- else if gt (len (include "llamacpp-app.ipFamilies" . | fromJsonArray)) 1 -}}
RequireDualStack
{{- end -}}
{{- end -}}

{{/* The address that the server listens on. A Service with an IPv6 family asks for it at the pod's IPv6 address. */}}
{{- define "llamacpp-app.listenHost" -}}
{{- $dual := has (include "llamacpp-app.ipFamilyPolicy" .) (list "PreferDualStack" "RequireDualStack") -}}
{{- if and (eq .Values.server.host "0.0.0.0") (or $dual (has "IPv6" (include "llamacpp-app.ipFamilies" . | fromJsonArray))) -}}
::
{{- else -}}
{{- .Values.server.host -}}
{{- end -}}
{{- end -}}

{{/* "true" when a Job has to write the address, because it is in a Secret. */}}
{{- define "llamacpp-app.patchesService" -}}
{{- if or .Values.sealedSecret.encryptedData.loadBalancerIP .Values.service.loadBalancer.ipSecret.name -}}true{{- end -}}
{{- end -}}

{{- define "llamacpp-app.lbIpName" -}}
{{- printf "%s-lb-ip-patch" (include "llamacpp-app.fullname" .) -}}
{{- end -}}

{{- define "llamacpp-app.lbIpJobSpec" -}}
{{- $loadBalancer := .Values.service.loadBalancer -}}
{{- $secret := dict "name" (include "llamacpp-app.lbIpSecretName" .) "key" "loadBalancerIP" -}}
{{- if $loadBalancer.ipSecret.name -}}
{{- $secret = $loadBalancer.ipSecret -}}
{{- end -}}
{{- $env := list
    (dict "name" "MODELFETCH_SERVICE" "value" (include "llamacpp-app.fullname" .))
    (dict "name" "MODELFETCH_SERVICE_PROVIDER" "value" $loadBalancer.provider)
    (dict "name" "LB_IP" "valueFrom" (dict "secretKeyRef" $secret)) -}}
{{- with $loadBalancer.annotationKey -}}
{{- $env = append $env (dict "name" "MODELFETCH_SERVICE_ANNOTATION" "value" .) -}}
{{- end -}}
{{- include "llamacpp-app.helperJobSpec" (dict
    "ctx" .
    "component" "lb-ip-patch"
    "serviceAccountName" (.Values.rbac.create | ternary (include "llamacpp-app.lbIpName" .) .Values.rbac.serviceAccountName)
    "backoffLimit" .Values.sealedSecret.patchJob.backoffLimit
    "activeDeadlineSeconds" .Values.sealedSecret.patchJob.activeDeadlineSeconds
    "args" (list "cluster" "patch-service")
    "env" $env
  ) -}}
{{- end -}}
