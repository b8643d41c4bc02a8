// Package openflow encodes and decodes OpenFlow 1.4 with Nicira extensions.
//
// In go values of its own types, out come the bytes that Open vSwitch reads, and the
// other way round; both sides of the conversation are known, so that a test can be
// the switch. What it has no type for (an action, an instruction, a match field) is
// kept as bytes and encodes as it came, so that a flow of somebody else can still be
// shown and deleted. Every length is checked: arbitrary bytes give an error, never a
// panic. Pure: it reads no socket and knows no time.
package openflow
