{{- define "mintmark.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* Room is left for what is put behind it: 63 characters are the most in a name. */}}
{{- define "mintmark.fullname" -}}
{{- $name := include "mintmark.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "mintmark.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mintmark.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Values.mode }}
{{- end -}}

{{- define "mintmark.labels" -}}
{{ include "mintmark.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: mintmark
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "mintmark.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ printf "%s@%s" .repository .digest }}
{{- else -}}
{{ printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "mintmark.sidecarImage" -}}
{{ default (include "mintmark.image" .) .Values.sidecar.image }}
{{- end -}}

{{- define "mintmark.serviceAccount" -}}
{{ default (include "mintmark.fullname" .) .Values.serviceAccount.name }}
{{- end -}}

{{- define "mintmark.keysSecret" -}}
{{ default (printf "%s-keys" (include "mintmark.fullname" .)) .Values.keys.secretName }}
{{- end -}}

{{- define "mintmark.kekSecret" -}}
{{ default (printf "%s-kek" (include "mintmark.fullname" .)) .Values.existingKek.name }}
{{- end -}}

{{- define "mintmark.discoveryService" -}}
{{ include "mintmark.fullname" . }}-discovery
{{- end -}}

{{/* The Secret of the private listener's certificate; empty: the authority makes its own. */}}
{{- define "mintmark.privateTlsSecret" -}}
{{- if and .Values.private.certManager.enabled .Values.private.tlsSecret -}}
{{- fail "private.certManager.enabled and private.tlsSecret: only one of them can make the certificate" -}}
{{- end -}}
{{- if .Values.private.certManager.enabled -}}
{{ include "mintmark.fullname" . }}-tls
{{- else -}}
{{ .Values.private.tlsSecret }}
{{- end -}}
{{- end -}}

{{/* What sidecars and the API server reach the authority by, as a JSON list. */}}
{{- define "mintmark.privateNames" -}}
{{- $short := printf "%s.%s.svc" (include "mintmark.fullname" .) .Release.Namespace -}}
{{ list $short (printf "%s.cluster.local" $short) | toJson }}
{{- end -}}

{{- define "mintmark.issuerHost" -}}
{{ regexReplaceAll ":[0-9]+$" (urlParse .Values.issuer).host "" }}
{{- end -}}

{{- define "mintmark.issuerPath" -}}
{{ (urlParse .Values.issuer).path | trimSuffix "/" }}
{{- end -}}

{{/* Where the documents are, as a JSON list of path prefixes (OpenID Connect Discovery 4, RFC 8414 section 3.1). */}}
{{- define "mintmark.discoveryPaths" -}}
{{- $path := include "mintmark.issuerPath" . -}}
{{- $paths := list (printf "%s/.well-known" $path) -}}
{{- if $path -}}
{{- $paths = append $paths (printf "/.well-known/oauth-authorization-server%s" $path) -}}
{{- end -}}
{{ $paths | toJson }}
{{- end -}}

{{- define "mintmark.testsEnabled" -}}
{{- if and (eq .Values.mode "authority") .Values.webhook.enabled .Values.tests.enabled -}}true{{- end -}}
{{- end -}}

{{- define "mintmark.testName" -}}
{{ include "mintmark.fullname" . }}-test
{{- end -}}

{{/* Those of the one pod of `helm test`. */}}
{{- define "mintmark.testLabels" -}}
app.kubernetes.io/name: mintmark-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "mintmark.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
# So that the program may read what is mounted for it.
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "mintmark.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "mintmark.probes" -}}
startupProbe:
  httpGet: { path: /livez, port: status }
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /livez, port: status }
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: { path: /readyz, port: status }
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}

{{/* There is no shell to sleep with: the kubelet does it. */}}
{{- define "mintmark.drain" -}}
{{- if and .Values.drainSeconds (semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version) -}}
lifecycle:
  preStop:
    sleep: { seconds: {{ .Values.drainSeconds }} }
{{- end -}}
{{- end -}}
