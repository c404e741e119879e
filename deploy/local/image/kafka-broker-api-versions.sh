#!/bin/sh
# Kafka's own script of this name, for health checks: succeeds once the broker answers.
exec java -Xmx64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile=/etc/kafka/log4j2.properties -cp '/opt/kafka/*' \
  org.apache.kafka.tools.BrokerApiVersionsCommand "$@"
