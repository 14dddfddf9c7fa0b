{{/* mintmark.yaml of a replica of the authority. */}}
{{- define "mintmark.authorityConfig" -}}
{{- $privateTls := include "mintmark.privateTlsSecret" . -}}
issuer: {{ .Values.issuer | quote }}
host: {{ include "mintmark.fullname" . }}
socket: { path: /run/mintmark/api.sock }
admin: { path: /run/mintmark/admin.sock }
public:
  listen: "{{ .Values.listenAddress }}:8080"
  cacheFor: {{ .Values.public.cacheFor }}
  {{- if .Values.public.tlsSecret }}
  tls: { certificate: /etc/mintmark-public-tls/tls.crt, key: /etc/mintmark-public-tls/tls.key }
  {{- end }}
private:
  listen: "{{ .Values.listenAddress }}:8443"
  {{- if $privateTls }}
  tls: { certificate: /etc/mintmark-tls/tls.crt, key: /etc/mintmark-tls/tls.key }
  {{- else }}
  tls: { bootstrap: { names: {{ include "mintmark.privateNames" . }} } }
  {{- end }}
  maxConnections: {{ .Values.private.maxConnections }}
  maxConnectionsPerAddress: {{ .Values.private.maxConnectionsPerAddress }}
status: { listen: "{{ .Values.listenAddress }}:9464" }
keys:
  store:
    kubernetes-secret: { namespace: {{ .Release.Namespace }}, name: {{ include "mintmark.keysSecret" . }} }
  encryption: { file: /etc/mintmark-kek/kek }
  rotateEvery: {{ .Values.keys.rotateEvery }}
  publishAtLeast: {{ .Values.keys.publishAtLeast }}
attestors:
  kubernetes: {{ merge (dict "audience" .Values.audience "sidecarImages" (append (default list .Values.attestor.sidecarImages) (include "mintmark.sidecarImage" .) | uniq)) .Values.attestor | toJson }}
doors:
  authority: {}
  {{- if .Values.webhook.enabled }}
  webhook: {{ include "mintmark.webhookDoor" . }}
  {{- end }}
rules: {{ include "mintmark.rules" . }}
log: {{ toJson .Values.log }}
stopWithin: {{ .Values.stopWithin }}
{{- end -}}

{{/*
What pods are given: the settings of `sidecar`, and what the chart knows. The authority
keeps the CA bundle of the configuration that it is told of; else that is cert-manager's,
or whoever's made the certificate.
*/}}
{{- define "mintmark.webhookDoor" -}}
{{- $url := printf "https://%s.%s.svc:%d" (include "mintmark.fullname" .) .Release.Namespace (int .Values.private.port) -}}
{{- $door := dict "url" $url "audience" .Values.audience "image" (include "mintmark.sidecarImage" .) "maxInFlight" (int .Values.webhook.maxInFlight) -}}
{{- if include "mintmark.privateTlsSecret" . -}}
{{- $_ := set $door "caFile" "/etc/mintmark-tls/ca.crt" -}}
{{- end -}}
{{- if not .Values.private.certManager.enabled -}}
{{- $_ := set $door "configuration" (include "mintmark.fullname" .) -}}
{{- end -}}
{{- if not .Values.sidecar.image -}}
{{- $_ := set $door "imagePullPolicy" (default .Values.image.pullPolicy .Values.sidecar.imagePullPolicy) -}}
{{- end -}}
{{ merge $door .Values.sidecar | toJson }}
{{- end -}}

{{- define "mintmark.rules" -}}
{{- $rules := default list .Values.rules -}}
{{- if include "mintmark.testsEnabled" . -}}
{{- $match := list (printf "k8s:ns:%s" .Release.Namespace) (printf "k8s:sa:%s" (include "mintmark.testName" .)) -}}
{{- $rules = append $rules (dict "name" "helm test" "match" $match "subject" "helm-test" "audiences" (list "mintmark-helm-test") "explain" false) -}}
{{- end -}}
{{ $rules | toJson }}
{{- end -}}

{{/* mintmark.yaml beside a workload that needs no authority. */}}
{{- define "mintmark.standaloneConfig" -}}
issuer: {{ .Values.issuer | quote }}
host: {{ include "mintmark.fullname" . }}
# The mount is the boundary; which container asks is told by its user.
socket: { path: /run/mintmark/api.sock, mode: "0666" }
# Not beside the socket, which workloads mount.
admin: { path: /var/lib/mintmark/keys/admin.sock }
public:
  listen: "{{ .Values.listenAddress }}:8080"
  cacheFor: {{ .Values.public.cacheFor }}
  {{- if .Values.public.tlsSecret }}
  tls: { certificate: /etc/mintmark-public-tls/tls.crt, key: /etc/mintmark-public-tls/tls.key }
  {{- end }}
status: { listen: "{{ .Values.listenAddress }}:9464" }
keys:
  store: { file: /var/lib/mintmark/keys }
  encryption: { file: /etc/mintmark-kek/kek }
  rotateEvery: {{ .Values.keys.rotateEvery }}
  publishAtLeast: {{ .Values.keys.publishAtLeast }}
rules: {{ toJson .Values.rules }}
tokens: {{ include "mintmark.standaloneTokens" . }}
log: {{ toJson .Values.log }}
stopWithin: {{ .Values.stopWithin }}
{{- end -}}

{{/* The program's own, for it has no right to give a file away; the pod's group, which the workload is in, reads it. */}}
{{- define "mintmark.standaloneTokens" -}}
{{- $files := list -}}
{{- range .Values.standalone.tokens -}}
{{- $files = append $files (merge (dict) . (dict "owner" "65532" "mode" "0440")) -}}
{{- end -}}
{{ toJson $files }}
{{- end -}}

{{- define "mintmark.config" -}}
{{- include "mintmark.assertValues" . -}}
{{- $config := include (printf "mintmark.%sConfig" .Values.mode) . | fromYaml -}}
{{- with $config.Error }}{{ fail (printf "mintmark.yaml: %s" .) }}{{ end -}}
{{ mergeOverwrite $config (deepCopy .Values.extra.settings) | toYaml }}
{{- end -}}

{{/* What both kinds of pod run the program with. */}}
{{- define "mintmark.configMounts" -}}
- { name: config, mountPath: /etc/mintmark, readOnly: true }
- { name: kek, mountPath: /etc/mintmark-kek, readOnly: true }
{{- if .Values.public.tlsSecret }}
- { name: public-tls, mountPath: /etc/mintmark-public-tls, readOnly: true }
{{- end }}
{{- with .Values.extra.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "mintmark.configVolumes" -}}
- name: config
  configMap: { name: {{ include "mintmark.fullname" . }} }
- name: kek
  secret:
    secretName: {{ include "mintmark.kekSecret" . }}
    defaultMode: 0400
    items: [{ key: {{ if .Values.existingKek.name }}{{ .Values.existingKek.key }}{{ else }}kek{{ end }}, path: kek }]
{{- with .Values.public.tlsSecret }}
- name: public-tls
  secret: { secretName: {{ . }}, defaultMode: 0400 }
{{- end }}
{{- with .Values.extra.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
