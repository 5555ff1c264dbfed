// Records what the Go collector's debug exporter prints for the requests of src/text/samples.rs.
//
//	RECORD_DIR=/tmp/golden cargo test -p debug_exporter -- --ignored writes_the_requests_to_record
//	cp testdata/record/main.go /tmp/golden && cd /tmp/golden && go mod init record && go mod tidy && go run .
//
// Each .raw file holds the summary line, the text and an empty line; the .txt files beside this folder hold the text.
// Recorded with go.opentelemetry.io/collector/exporter/debugexporter v0.164.0.
package main

import (
	"context"
	"os"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter/debugexporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

func must(e error) {
	if e != nil {
		panic(e)
	}
}

func main() {
	f := debugexporter.NewFactory()
	ctx := context.Background()
	for _, v := range []string{"basic", "normal", "detailed"} {
		for _, s := range []string{"traces", "metrics", "logs"} {
			out := s + "." + v + ".raw"
			os.Remove(out)
			cfg := f.CreateDefaultConfig()
			must(confmap.NewFromStringMap(map[string]any{"verbosity": v, "use_internal_logger": false, "output_paths": []any{out}}).Unmarshal(cfg))
			set := exportertest.NewNopSettings(f.Type())
			b, err := os.ReadFile(s + ".pb")
			must(err)
			var c component.Component
			switch s {
			case "traces":
				e, err := f.CreateTraces(ctx, set, cfg)
				must(err)
				must(e.Start(ctx, componenttest.NewNopHost()))
				d, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(b)
				must(err)
				must(e.ConsumeTraces(ctx, d))
				c = e
			case "metrics":
				e, err := f.CreateMetrics(ctx, set, cfg)
				must(err)
				must(e.Start(ctx, componenttest.NewNopHost()))
				d, err := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(b)
				must(err)
				must(e.ConsumeMetrics(ctx, d))
				c = e
			case "logs":
				e, err := f.CreateLogs(ctx, set, cfg)
				must(err)
				must(e.Start(ctx, componenttest.NewNopHost()))
				d, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(b)
				must(err)
				must(e.ConsumeLogs(ctx, d))
				c = e
			}
			must(c.Shutdown(ctx))
		}
	}
}
