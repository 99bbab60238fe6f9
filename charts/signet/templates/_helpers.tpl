{{- define "signet.fullname" -}}
{{- if .Values.fullnameOverride -}}{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name (default .Chart.Name .Values.nameOverride) | trunc 50 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "signet.operator" -}}{{ include "signet.fullname" . }}-operator{{- end -}}

{{- define "signet.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}{{ .Values.serviceAccount.name }}
{{- else if .Values.serviceAccount.create -}}{{ include "signet.operator" . }}
{{- else -}}default
{{- end -}}
{{- end -}}

{{- define "signet.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "signet.labels" -}}
{{ include "signet.selectorLabels" . }}
app.kubernetes.io/part-of: signet
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.global.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The ConfigMaps that the operator writes: 32 for quotas (QuotaLender::kMaps). A JSON list. */ -}}
{{- define "signet.configMaps" -}}
{{- $names := list "signet-gateway-ca" -}}
{{- range $i := until 32 -}}{{ $names = append $names (printf "signet-quota-%02x" $i) }}{{ end -}}
{{ $names | toJson }}
{{- end -}}

{{- define "signet.image" -}}
{{- $name := .Values.image.repository -}}
{{- if .Values.image.registry }}{{ $name = printf "%s/%s" .Values.image.registry $name }}{{ end -}}
{{- if .Values.image.digest -}}{{ $name }}@{{ .Values.image.digest }}
{{- else -}}{{ $name }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "signet.replicas" -}}
{{- if kindIs "invalid" .Values.replicaCount -}}{{ ternary 1 2 .Values.devHsm.enabled }}
{{- else -}}{{ int .Values.replicaCount }}
{{- end -}}
{{- end -}}

{{- /* The configuration file: what flags cannot say (several tokens), and what the values' config adds. Empty: none. */ -}}
{{- define "signet.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.hsm.tokens -}}
{{- $tokens := list -}}
{{- range $i, $token := .Values.hsm.tokens -}}
{{- $tokens = append $tokens (dict "uri" $token.uri "pinFile" (printf "/run/secrets/signet/token-%d/pin" $i)) -}}
{{- end -}}
{{- $_ := set $config "hsm" (merge (dict "tokens" $tokens) (default dict (get $config "hsm"))) -}}
{{- end -}}
{{- if $config }}{{ toYaml $config }}{{ end -}}
{{- end -}}

{{- /* What cannot work is refused here, with the next step, before anything is installed. */ -}}
{{- define "signet.check" -}}
{{- $replicas := include "signet.replicas" . | int -}}
{{- $hsm := .Values.hsm -}}
{{- $dev := .Values.devHsm -}}
{{- if $dev.enabled -}}
{{- if or $hsm.module $hsm.pinSecret.name $hsm.pinFile $hsm.tokens $hsm.tokenLabel -}}
{{- fail "devHsm is for a first try and goes with no other HSM: set devHsm.enabled=false, or leave hsm.module, hsm.pinSecret.name, hsm.pinFile, hsm.tokens and hsm.tokenLabel empty" -}}
{{- end -}}
{{- if gt $replicas 1 -}}
{{- if not $dev.persistence.enabled -}}
{{- fail "devHsm without a volume gives every replica keys of its own: set replicaCount=1 or devHsm.persistence.enabled=true" -}}
{{- end -}}
{{- if and (not $dev.persistence.existingClaim) (not (has "ReadWriteMany" $dev.persistence.accessModes)) -}}
{{- fail (printf "devHsm with %d replicas needs a volume that they share: set replicaCount=1, or devHsm.persistence.accessModes={ReadWriteMany} with a storage class that has it" $replicas) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- if not $hsm.module -}}
{{- fail "which HSM? Set hsm.module to its PKCS#11 library and hsm.pinSecret.name to the Secret with its PIN (docs/install.md), or devHsm.enabled=true for a first try" -}}
{{- end -}}
{{- if and $hsm.tokens (or $hsm.pinSecret.name $hsm.pinFile $hsm.tokenLabel) -}}
{{- fail "hsm.tokens goes in place of hsm.pinSecret, hsm.pinFile and hsm.tokenLabel: empty one or the other" -}}
{{- end -}}
{{- if not (or $hsm.tokens $hsm.pinSecret.name $hsm.pinFile) -}}
{{- fail "where is the PIN? Set hsm.pinSecret.name to a Secret of this namespace (kubectl create secret generic hsm-pin --from-file=pin=FILE), or hsm.tokens for several tokens" -}}
{{- end -}}
{{- if and $hsm.pinSecret.name $hsm.pinFile -}}
{{- fail "hsm.pinSecret.name or hsm.pinFile, not both" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.approvalRoots.configMap .Values.approvalRoots.secret -}}
{{- fail "approvalRoots: a configMap or a secret, not both" -}}
{{- end -}}
{{- if not (or .Values.networkPolicy.enabled .Values.metrics.tokenSecret.name) -}}
{{- fail "metrics name policies, and nothing would guard them: set networkPolicy.enabled=true, or metrics.tokenSecret.name to a Secret with a token (docs/install.md)" -}}
{{- end -}}
{{- if and .Values.injection.enabled (not .Values.gateway.enabled) -}}
{{- fail "injected sidecars sign through the gateway: set gateway.enabled=true or injection.enabled=false" -}}
{{- end -}}
{{- end -}}
