{{- /* The name of all objects. 40 characters leave room for "-gateway" and Kubernetes' own suffixes. */ -}}
{{- define "lapwing.name" -}}
{{- default .Release.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* What never changes of a pod's labels. Takes (list $ component). */ -}}
{{- define "lapwing.selector" -}}
app.kubernetes.io/name: lapwing
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
{{- with index . 1 }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- /* The labels of an object. Takes (list $ component); the component may be empty. */ -}}
{{- define "lapwing.labels" -}}
{{ include "lapwing.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
{{- end -}}

{{- define "lapwing.serviceAccount" -}}
{{- if .Values.serviceAccount.name -}}
{{ .Values.serviceAccount.name }}
{{- else if .Values.serviceAccount.create -}}
{{ include "lapwing.name" . }}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{- define "lapwing.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end -}}
{{- end -}}

{{- /*
The seconds that a pod gets to end. Takes (list override drain pause), drain being a duration such as 3s or 1m30s.
12 more than the drain: the process gives itself 1.5 s beyond it (stopGrace), up to 1 s is lost here by whole seconds,
the rest is for a busy node. A duration becomes seconds by moving a date by it.
*/ -}}
{{- define "lapwing.grace" -}}
{{- $override := index . 0 -}}
{{- $drain := index . 1 -}}
{{- $start := toDate "2006-01-02" "2000-01-01" -}}
{{- $seconds := sub (mustDateModify $drain $start | unixEpoch) (unixEpoch $start) -}}
{{- $least := add $seconds 3 (index . 2) -}}
{{- if and $override (lt (int64 $override) $least) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, but the drain_timeout %s, 3 s and preStopSeconds need %d; leave it 0"
      (int64 $override) $drain $least) -}}
{{- end -}}
{{- if $override -}}{{ int $override }}{{- else -}}{{ add $seconds 12 (index . 2) }}{{- end -}}
{{- end -}}

{{- /* The secret files of a component, as YAML below "files". Takes (list $ component). */ -}}
{{- define "lapwing.secretFiles" -}}
{{- $other := ternary "LAPWING_GATEWAY_" "LAPWING_REDIS_" (eq (index . 1) "engine") -}}
files:
{{- range (index . 0).Values.secretFiles }}
{{- if not (hasPrefix $other .variable) }}
  - {{ toJson . }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* The ports of addresses host:port, and further ones, each once, for a policy. Takes (list addresses ports). */ -}}
{{- define "lapwing.ports" -}}
{{- $ports := list -}}
{{- range index . 0 }}{{ $ports = append $ports (regexFind "[0-9]+$" . | int) }}{{ end -}}
{{- range index . 1 }}{{ $ports = append $ports (int .) }}{{ end -}}
{{- range uniq $ports }}
- {port: {{ . }}, protocol: TCP}
{{- end }}
{{- end -}}

{{- /* How the admin endpoints are asked. */ -}}
{{- define "lapwing.adminScheme" -}}
{{- ternary "HTTPS" "HTTP" (eq true (dig "admin" "tls" "enabled" false .Values.config)) -}}
{{- end -}}

{{- /* What must not stand in config. Each is a path below it, and what to do instead. */ -}}
{{- define "lapwing.refuse" -}}
{{- $secret := "a ConfigMap is no place for a password; name its Secret in secretFiles" -}}
{{- $ours := "the chart sets it; leave it out" -}}
{{- range list (list "http" $ours) (list "rules" "give the file's text as the value rules") (list "gateway.listen" $ours)
      (list "kafka.sasl.password" $secret) (list "kafka.sasl.oauth.client_secret" $secret) (list "redis.password" $secret) (list "redis.sentinel.password" $secret) -}}
{{- $found := $.Values.config -}}
{{- range splitList "." (index . 0) -}}
{{- $found = (kindIs "map" $found | ternary $found dict) | dig . "" -}}
{{- end -}}
{{- if $found -}}
{{- fail (printf "config.%s must not be set: %s" (index . 0) (index . 1)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Two values cannot both scale the engine, and none beyond the partitions. */ -}}
{{- define "lapwing.scaled" -}}
{{- $partitions := int .Values.config.kafka.partitions -}}
{{- if and .Values.autoscaling.enabled .Values.keda.enabled -}}
{{- fail "autoscaling.enabled and keda.enabled are both true: two scalers of one Deployment fight; enable one" -}}
{{- end -}}
{{- range $name := list "autoscaling" "keda" -}}
{{- $scaler := index $.Values $name -}}
{{- if $scaler.enabled -}}
{{- if gt (int $scaler.maxReplicas) $partitions -}}
{{- $problem := "%s.maxReplicas is %d, but an engine beyond the %d of config.kafka.partitions would have nothing to do" -}}
{{- $remedy := "; lower it, or set config.kafka.partitions to what the input has" -}}
{{- fail (printf (cat $problem $remedy | replace " ;" ";") $name (int $scaler.maxReplicas) $partitions) -}}
{{- end -}}
{{- if gt (int $scaler.minReplicas) (int $scaler.maxReplicas) -}}
{{- fail (printf "%s.minReplicas is %d, above its maxReplicas, %d" $name (int $scaler.minReplicas) (int $scaler.maxReplicas)) -}}
{{- end -}}
true
{{- end -}}
{{- end -}}
{{- end -}}

{{- /*
What engine and gateway have in common: a Deployment. Takes root ($), component, command, file (the configuration's
name), grace and preStop (seconds), ports (pairs of name and number), and scaled: whether something else says how many.
*/ -}}
{{- define "lapwing.deployment" -}}
{{- $root := .root -}}
{{- $component := .component -}}
{{- $values := index $root.Values $component -}}
{{- $name := include "lapwing.name" $root -}}
{{- $secrets := include "lapwing.secretFiles" (list $root $component) | fromYaml -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}-{{ $component }}
  labels:
    {{- include "lapwing.labels" (list $root $component) | nindent 4 }}
spec:
  {{- if not .scaled }}
  replicas: {{ int $values.replicas }}
  {{- end }}
  strategy:
    type: {{ $values.strategy.type }}
    {{- if eq $values.strategy.type "RollingUpdate" }}
    rollingUpdate:
      {{- toYaml $values.strategy.rollingUpdate | nindent 6 }}
    {{- end }}
  selector:
    matchLabels:
      {{- include "lapwing.selector" (list $root $component) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "lapwing.labels" (list $root $component) | nindent 8 }}
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        # Another configuration is another pod: of all files only those of config.admin and config.gateway are read again.
        checksum/config: {{ include "lapwing.files" $root | sha256sum | quote }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "lapwing.serviceAccount" $root }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ .grace }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532
        seccompProfile:
          type: RuntimeDefault
      {{- with $root.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      {{- with $values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- with $values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.topologySpread }}
      topologySpreadConstraints:
        {{- range . }}
        - topologyKey: {{ .topologyKey }}
          maxSkew: {{ int .maxSkew }}
          whenUnsatisfiable: {{ .whenUnsatisfiable }}
          labelSelector:
            matchLabels:
              {{- include "lapwing.selector" (list $root $component) | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
        {{- end }}
      {{- end }}
      containers:
        - name: {{ $component }}
          image: {{ include "lapwing.image" $root | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: [{{ .command }}, --config, /etc/lapwing/{{ .file }}]
          env:
            - {name: LAPWING_HTTP, value: ":9644"}
            {{- if eq $component "gateway" }}
            - {name: LAPWING_GATEWAY_LISTEN, value: ":5001"}
            {{- end }}
            {{- range $secrets.files }}
            - {name: {{ .variable }}, value: /run/secrets/lapwing/{{ lower .variable }}}
            {{- end }}
            {{- with $values.env }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          ports:
            {{- range .ports }}
            - {name: {{ index . 0 }}, containerPort: {{ index . 1 }}, protocol: TCP}
            {{- end }}
          {{- $scheme := include "lapwing.adminScheme" $root }}
          # Alive within a minute; later killed only when the process hangs. Not ready is normal while Kafka is away.
          startupProbe:
            httpGet: {path: /healthz, port: admin, scheme: {{ $scheme }}}
            periodSeconds: 2
            timeoutSeconds: 2
            failureThreshold: 30
          livenessProbe:
            httpGet: {path: /healthz, port: admin, scheme: {{ $scheme }}}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 3
          readinessProbe:
            httpGet: {path: /readyz, port: admin, scheme: {{ $scheme }}}
            periodSeconds: 5
            timeoutSeconds: 3
            failureThreshold: 2
          {{- with .preStop }}
          lifecycle:
            preStop:
              sleep: {seconds: {{ int . }}}
          {{- end }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          volumeMounts:
            - {name: config, mountPath: /etc/lapwing, readOnly: true}
            {{- if $secrets.files }}
            - {name: secrets, mountPath: /run/secrets/lapwing, readOnly: true}
            {{- end }}
      volumes:
        - name: config
          configMap:
            name: {{ $name }}
        {{- with $secrets.files }}
        - name: secrets
          projected:
            defaultMode: 0440
            sources:
              {{- range . }}
              - secret:
                  name: {{ .existingSecret }}
                  items:
                    - {key: {{ .key }}, path: {{ lower .variable }}}
              {{- end }}
        {{- end }}
{{- end -}}
