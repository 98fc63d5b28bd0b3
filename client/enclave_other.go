//go:build !linux

package client

import "context"

// runSocketOf says where `mpsocks run` would find the client: there is none here.
func runSocketOf(string) string { return "" }

func runGrants(context.Context, *Client) error { return nil }
