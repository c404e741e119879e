// Package httpd is the HTTP server that the gateway and the admin endpoints stand behind: what is to hold of any listener
// that strangers may reach, whatever is served there.
//
// # Who may ask
//
// With Options.TLS the server speaks TLS 1.2 or later, and nothing else. With TLS.ClientCA a request needs a client
// certificate of these authorities (403 without one; a connection with another one's ends at the handshake); with
// Options.TokensFile it needs one of the tokens there as a bearer token (401). With both it needs both. A token is compared
// with all tokens in constant time, by hashes; the answer does not say what was wrong, and the handler does not see it.
//
// GET /healthz and /readyz are for probes, which have neither: without them they are answered with the status alone. The
// body, which may name brokers and topics, is for those who may ask. This is why a client certificate is not demanded at
// the handshake.
//
// Certificates, authorities and tokens are read again when their files change, within Options.ReloadInterval: the next
// handshake has the new certificate, the next request needs one of the new tokens. What cannot be used is reported once,
// and the former goes on, as lapwing_http_stale_files says. Connections that are open stay open.
//
// # What it may cost
//
// Every wait has an end: for the handshake and the header (ReadHeaderTimeout), the whole request (ReadTimeout), its answer
// (WriteTimeout), and the next request (IdleTimeout). A connection beyond ConnectionsMax is closed at once. HTTP/2, with
// its many requests in one connection, is not spoken: so there are never more requests than connections, and their memory
// is bounded by ConnectionsMax and HeaderBytesMax, and by what the handler reads of a body.
//
// # What is not told
//
// Neither headers nor bodies nor tokens are in any log, error or metric. Addresses of clients whose handshakes fail are in
// the debug log.
//
// # Ownership
//
// [New] reads the files and starts nothing. [Server.Serve] owns the listener and one goroutine that looks at the files, and
// has ended it when it returns; connections end with [Server.Stop].
package httpd
