// Package firewall turns port security and security groups into flows, and says for any
// packet whether they admit it.
//
// In go ports with their groups, rules and the members of remote groups; out come the
// flows of tables 24 to 92 of br-int, and verdicts. The two are written apart, so that
// tests can hold one to the other: Admits reads like the rules, the flows are made for the
// switch. Pure.
package firewall
