package conf

import "reflect"

// KeepClient puts the values that a running client cannot change (the `restart` ones)
// into another configuration, so that it says what runs, and that a later diff tells of
// them again.
func KeepClient(running, next *Client) { keep(running, next) }

// KeepServer is KeepClient for a server.
func KeepServer(running, next *Server) { keep(running, next) }

func keep[T config](running, next *T) {
	walk(reflect.TypeFor[T](), "", "", func(_ string, how Reload, index []int) {
		if how == ReloadRestart {
			reflect.ValueOf(next).Elem().FieldByIndex(index).Set(reflect.ValueOf(running).Elem().FieldByIndex(index))
		}
	})
}
