// Package dsn has both sides of a data sequence space (RFC 8684, Section 3.3): what
// was sent and has no Data ACK yet, and what has come. It keeps no time and takes no
// lock: its owner does.
package dsn
