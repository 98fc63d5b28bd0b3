//go:build !linux

package client

import "context"

// runSocketOf says where `mpsocks run` would find the client: there is none here.
func runSocketOf(string) string { return "" }

func (c *Client) runGrants(context.Context) error { return nil }
