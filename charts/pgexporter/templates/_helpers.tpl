{{- define "pgexporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "pgexporter.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := include "pgexporter.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The name of an object that others of the cluster may share a place with: releases of one name
in two namespaces must not clash. No namespace has a colon in its name. */}}
{{- define "pgexporter.clusterName" -}}
{{- printf "%s:%s" (include "pgexporter.fullname" .) .Release.Namespace }}
{{- end }}

{{- /* The name of an object in a namespace that may be another than the release's, where one of
another release of the same name may be too: dict "root" $ "name" "..." "namespace" "...". */}}
{{- define "pgexporter.nameIn" -}}
{{- $elsewhere := and .namespace (ne .namespace .root.Release.Namespace) }}
{{- ternary (printf "%s.%s" .name .root.Release.Namespace) .name (not (empty $elsewhere)) }}
{{- end }}

{{- /* "true" when the cluster's own roles are to know PostgresTargets. */}}
{{- define "pgexporter.aggregated" -}}
{{- if kindIs "bool" .Values.rbac.aggregate }}
{{- if .Values.rbac.aggregate }}true{{ end }}
{{- else if and .Values.rbac.create .Values.crds.install .Values.kubernetes.enabled }}true{{ end }}
{{- end }}

{{- /* What a Service and a Deployment find their pods by: it never changes. */}}
{{- define "pgexporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pgexporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* Of the pod of `helm test`, which no Service is to find. */}}
{{- define "pgexporter.testLabels" -}}
app.kubernetes.io/name: {{ include "pgexporter.name" . | trunc 58 | trimSuffix "-" }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pgexporter.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "pgexporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Metadata of an object: dict "root" $ "name" "..." and, where wanted, "namespace", "labels", "annotations". */}}
{{- define "pgexporter.metadata" -}}
name: {{ ternary (quote .name) .name (contains ":" .name) }}
{{- if not .cluster }}
namespace: {{ .namespace | default .root.Release.Namespace }}
{{- end }}
labels:
  {{- $own := include "pgexporter.labels" .root | fromYaml }}
  {{- toYaml (merge (dict) (.labels | default dict) $own) | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "pgexporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "pgexporter.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "pgexporter.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- /* "true" when there can be more than one pod. */}}
{{- define "pgexporter.many" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) }}true{{ end }}
{{- end }}

{{- /* "true" when the pods share the targets. */}}
{{- define "pgexporter.sharded" -}}
{{- if kindIs "bool" .Values.sharding.enabled }}
{{- if .Values.sharding.enabled }}true{{ end }}
{{- else }}
{{- include "pgexporter.many" . }}
{{- end }}
{{- end }}

{{- /* Values that contradict each other, said before anything is installed. */}}
{{- define "pgexporter.validate" -}}
{{- if and (include "pgexporter.many" .) (not (include "pgexporter.sharded" .)) }}
{{- fail "sharding.enabled is false and there can be more than one pod: each would scrape every target. Leave sharding.enabled at null, or have one replica" }}
{{- end }}
{{- if and (include "pgexporter.sharded" .) (not .Values.kubernetes.enabled) }}
{{- fail "sharding shares PostgresTarget resources, and kubernetes.enabled is false: have one replica" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- fail "serviceMonitor.enabled and podMonitor.enabled are both true: each pod would be scraped twice. Choose one" }}
{{- end }}
{{- if and .Values.metrics.tls.certManager (not .Values.metrics.tls.secretName) }}
{{- fail "metrics.tls.certManager needs metrics.tls.secretName, the Secret that cert-manager is to write" }}
{{- end }}
{{- if and .Values.management.tls.certManager (not .Values.management.tls.secretName) }}
{{- fail "management.tls.certManager needs management.tls.secretName, the Secret that cert-manager is to write" }}
{{- end }}
{{- if and (or .Values.metrics.tls.certManager .Values.management.tls.certManager) (not .Values.certManager.issuerRef.name) }}
{{- fail "certManager.issuerRef.name is empty: name the Issuer or ClusterIssuer that is to sign" }}
{{- end }}
{{- if and .Values.management.enabled (not .Values.management.adminsSecretName) }}
{{- fail "management.enabled needs management.adminsSecretName, a Secret with a file for each administrator" }}
{{- end }}
{{- range $name := list "serviceMonitor" "podMonitor" }}
{{- $monitor := get $.Values $name }}
{{- if $monitor.enabled }}
{{- $tls := $.Values.metrics.tls }}
{{- if and $monitor.tlsConfig (not $tls.secretName) }}
{{- fail (printf "%s.tlsConfig is set and the metrics port speaks plain HTTP: set metrics.tls.secretName, or leave %s.tlsConfig empty" $name $name) }}
{{- end }}
{{- if $tls.secretName }}
{{- $given := $monitor.tlsConfig }}
{{- if and $tls.clientCASecretName (not (or $given.cert $given.certFile)) }}
{{- fail (printf "metrics.tls.clientCASecretName asks clients for a certificate, and %s.tlsConfig names none: set its cert and keySecret" $name) }}
{{- end }}
{{- if and (not $given) $monitor.namespace (ne $monitor.namespace $.Release.Namespace) }}
{{- fail (printf "%s.namespace is %s, where the Secret %s is not: set %s.tlsConfig with a ca of that namespace" $name $monitor.namespace $tls.secretName $name) }}
{{- end }}
{{- if and $given (not (or $given.ca $given.caFile $given.insecureSkipVerify)) }}
{{- fail (printf "%s.tlsConfig names no authority: set its ca (and serverName), or insecureSkipVerify" $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $ports := list (int .Values.metrics.port) (int .Values.health.port) }}
{{- if .Values.management.enabled }}
{{- $ports = append $ports (int .Values.management.port) }}
{{- end }}
{{- if ne (len $ports) (len (uniq $ports)) }}
{{- fail (printf "metrics.port, health.port and management.port must differ: %v" $ports) }}
{{- end }}
{{- end }}

{{- /* What a resource definition says, apart from what the API server adds. */}}
{{- define "pgexporter.schema" -}}
{{- range .spec.versions }}{{ .name }}{{ toJson .schema }}{{ end }}
{{- end }}
