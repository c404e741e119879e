package main

import "time"

// GatewayConfig is the section gateway: the HTTP server of lapwing gateway.
type GatewayConfig struct {
	Listen string          `yaml:"listen"`
	TLS    ServerTLSConfig `yaml:"tls"`
	// TokensFile has the bearer tokens that are taken, one a line; empty: none is needed.
	TokensFile File `yaml:"tokens_file"`
	// WriteTimeout bounds the time until Kafka has acknowledged the event.
	WriteTimeout time.Duration `yaml:"write_timeout" min:"10ms" max:"5m"`
	// Timeout bounds the time from there until the result is there.
	Timeout      time.Duration `yaml:"timeout" min:"10ms" max:"5m"`
	BodyBytesMax Bytes         `yaml:"body_bytes_max" min:"64" max:"100MiB"`
	// InFlightMax is how many requests are handled at a time.
	InFlightMax int `yaml:"in_flight_max" min:"1" max:"1000000"`
	// RateMax is how many events are taken in a second, and at once after a pause; 0: no limit.
	RateMax int `yaml:"rate_max" min:"0" max:"10000000"`
	// ConnectionsMax is how many connections are open at a time.
	ConnectionsMax    int           `yaml:"connections_max" min:"1" max:"1000000"`
	HeaderBytesMax    Bytes         `yaml:"header_bytes_max" min:"1KiB" max:"1MiB"`
	ReadHeaderTimeout time.Duration `yaml:"read_header_timeout" min:"10ms" max:"5m"`
	ReadTimeout       time.Duration `yaml:"read_timeout" min:"10ms" max:"5m"`
	IdleTimeout       time.Duration `yaml:"idle_timeout" min:"10ms" max:"1h"`
	DrainTimeout      time.Duration `yaml:"drain_timeout" min:"10ms" max:"5m"`
}

func newGatewayConfig() GatewayConfig {
	return GatewayConfig{
		Listen:            "127.0.0.1:5001",
		WriteTimeout:      3 * time.Second,
		Timeout:           5 * time.Second,
		BodyBytesMax:      64 << 10,
		InFlightMax:       1024,
		ConnectionsMax:    4096,
		HeaderBytesMax:    16 << 10,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		DrainTimeout:      3 * time.Second,
	}
}

func (l *loader) checkGateway() {
	g := &l.config.Gateway
	l.checkListen("gateway.listen", g.Listen)
	l.checkServer("gateway", &g.TLS, g.TokensFile, g.ReadHeaderTimeout, g.ReadTimeout)
}
