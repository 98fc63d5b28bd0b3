// Package sched chooses subflows: pure functions of what is known about them. It has
// the choice for small flows, for bulk (ECF: Lim et al., CoNEXT 2017), for flows that
// want order, and for copies. It keeps nothing between two calls but a budget.
package sched
