// Package netlab is a network in a box: two network namespaces, "client" (applications and the client half) and
// "world" (the server half and the destinations), joined by K paths whose delay, rate and loss are ours to choose
// and to change while traffic flows.
//
//	client namespace                                        world namespace
//	  app, mpsocks client                                     mpsocks server, echo and web servers
//	  path a: device "a" 10.77.1.2 ──up──▶ ┌───────────┐ ──▶ device "a" 10.77.1.1
//	                               ◀─down─ │ forwarder │ ◀──
//	  path b: device "b" 10.77.2.2 ──up──▶ │ (1 thread)│ ──▶ device "b" 10.77.2.1
//	                               ◀─down─ └───────────┘ ◀──   lo: 45.67.0.1 (World), 45.67.0.2 (Server)
//
// Each path is a TUN device in each namespace. One child process, a re-execution of the same binary, holds all
// of them and moves whole IP packets between them (forwarder_linux.go) by the model of one direction (pipe.go):
// random and burst loss, a drop-tail queue in front of a link of a given rate, a delay line with jitter. It is one
// thread under a real-time policy, so that a system under test which eats both cores does not bend the network
// it is measured on; how late it was is part of its statistics.
//
// Programs that use the lab call [Main] first thing in main or TestMain: it is where the child begins.
//
// What the numbers mean: rates count bytes of IP packets, headers included. A packet that is lost has used the
// link first, as on a radio link. The queue is in front of the link, so its delay comes on top of the one-way
// delay. Offloads are off: every packet is at most 1,500 bytes. The congestion control of TCP is the host's default;
// route metrics caching is off (tcp_no_metrics_save), so that no run inherits another's window.
//
// Linux only, and root only: New says what is missing, and [Available] lets tests skip with the reason.
package netlab
