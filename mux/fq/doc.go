// Package fq is the one queue of a session: FQ-CoDel (RFC 8290, RFC 8289) with an
// exact queue per flow, in bands. It has the flows, what they do, and the table of
// classes that says how each is treated; who asks when, and what becomes of what
// leaves, is not decided here. It keeps no clock and takes no lock: its owner does.
package fq
