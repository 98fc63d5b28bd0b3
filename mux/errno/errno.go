// Package errno has the errors that sockets give on this system, by one name each. Package
// syscall of Windows has invented numbers under the names of other systems, and sockets
// there give Winsock's: errors.Is finds none of these by syscall's names.
package errno
