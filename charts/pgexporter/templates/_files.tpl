{{- /* What lies in /etc/pgexporter: one volume, so that the program sees one state of all files. */}}
{{- define "pgexporter.files" -}}
- configMap:
    name: {{ .Values.existingConfigMap | default (include "pgexporter.fullname" .) }}
    items: [{key: pgexporter.conf, path: pgexporter.conf}]
{{- range $name := keys .Values.servers | sortAlpha }}
{{- $server := get $.Values.servers $name }}
{{- with $server.passwordSecret }}
- secret:
    name: {{ .name }}
    items: [{key: {{ .key | default "password" }}, path: servers/{{ $name }}/password}]
{{- end }}
{{- with $server.ca }}
- {{ ternary "secret" "configMap" (eq (.kind | default "ConfigMap") "Secret") }}:
    name: {{ .name }}
    items: [{key: {{ .key | default "ca.crt" }}, path: servers/{{ $name }}/ca.crt}]
{{- end }}
{{- with $server.clientCertificateSecret }}
- secret:
    name: {{ .name }}
    items:
      - {key: tls.crt, path: servers/{{ $name }}/tls.crt}
      - {key: tls.key, path: servers/{{ $name }}/tls.key}
{{- end }}
{{- end }}
{{- if .Values.metrics.tls.secretName }}
- secret:
    name: {{ .Values.metrics.tls.secretName }}
    items:
      - {key: tls.crt, path: tls/metrics/tls.crt}
      - {key: tls.key, path: tls/metrics/tls.key}
{{- with .Values.metrics.tls.clientCASecretName }}
- secret:
    name: {{ . }}
    items: [{key: ca.crt, path: tls/metrics-clients/ca.crt}]
{{- end }}
{{- end }}
{{- if and .Values.management.enabled .Values.management.tls.secretName }}
- secret:
    name: {{ .Values.management.tls.secretName }}
    items:
      - {key: tls.crt, path: tls/management/tls.crt}
      - {key: tls.key, path: tls/management/tls.key}
{{- with .Values.management.tls.clientCASecretName }}
- secret:
    name: {{ . }}
    items: [{key: ca.crt, path: tls/management-clients/ca.crt}]
{{- end }}
{{- end }}
{{- end }}
