// An OTLP/gRPC receiver on grpc-go and the official generated stubs, independent of Spanbridge.
//
// Prints `LISTENING <host:port>`, appends one JSON line a request to the file given, answers after the line is on disk, and
// stops at the end of its standard input. A line is `{"signal", "metadata", "request"}`, with the request in protobuf's JSON.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strings"
	"sync"

	logs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	metrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	traces "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const maxRequestBytes = 64 << 20

// ledger writes requests in the order of their arrival, as JSON lines.
type ledger struct {
	mu   sync.Mutex
	file *os.File
}

func (l *ledger) write(ctx context.Context, signal string, request proto.Message) error {
	body, err := protojson.Marshal(request)
	if err != nil {
		return err
	}
	joined := map[string]string{}
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		for key, values := range md {
			joined[key] = strings.Join(values, ",")
		}
	}
	line, err := json.Marshal(map[string]any{"signal": signal, "metadata": joined, "request": json.RawMessage(body)})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err = l.file.Write(append(line, '\n'))
	return err
}

type traceServer struct {
	traces.UnimplementedTraceServiceServer
	*ledger
}

func (s traceServer) Export(ctx context.Context, r *traces.ExportTraceServiceRequest) (*traces.ExportTraceServiceResponse, error) {
	return &traces.ExportTraceServiceResponse{}, s.write(ctx, "traces", r)
}

type metricsServer struct {
	metrics.UnimplementedMetricsServiceServer
	*ledger
}

func (s metricsServer) Export(ctx context.Context, r *metrics.ExportMetricsServiceRequest) (*metrics.ExportMetricsServiceResponse, error) {
	return &metrics.ExportMetricsServiceResponse{}, s.write(ctx, "metrics", r)
}

type logsServer struct {
	logs.UnimplementedLogsServiceServer
	*ledger
}

func (s logsServer) Export(ctx context.Context, r *logs.ExportLogsServiceRequest) (*logs.ExportLogsServiceResponse, error) {
	return &logs.ExportLogsServiceResponse{}, s.write(ctx, "logs", r)
}

func main() {
	out := flag.String("out", "", "file that takes the JSON lines")
	flag.Parse()
	file, err := os.Create(*out)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxRequestBytes))
	shared := &ledger{file: file}
	traces.RegisterTraceServiceServer(server, traceServer{ledger: shared})
	metrics.RegisterMetricsServiceServer(server, metricsServer{ledger: shared})
	logs.RegisterLogsServiceServer(server, logsServer{ledger: shared})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		server.Stop()
	}()
	fmt.Printf("LISTENING %s\n", listener.Addr())
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}
