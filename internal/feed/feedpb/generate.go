// Package feedpb is the wire format of the feed; feed.proto is the text to read.
package feedpb

//go:generate protoc -I . --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative feed.proto
