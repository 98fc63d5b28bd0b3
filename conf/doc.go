// Package conf is the paper the two halves are built from: the configuration
// file's types, their defaults, loading, validation and keys.
//
// A file is YAML, TOML or JSON, read through viper, overridden by MPSOCKS_
// environment variables, decoded strictly and validated whole:
//
//	bytes -> viper's decoder -> unknown keys? -> environment on top ->
//	decode hooks (units, addresses, keys) -> Validate -> *Client or *Server
//
// Nothing is reported one at a time: an [Errors] lists every problem of a file,
// each with the key it concerns. Of ours the package imports durable alone, which
// writes key files, and nobody else imports viper.
package conf
