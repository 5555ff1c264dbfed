// A Kubernetes control plane in one process, for tests: the real kube-apiserver over a real etcd, both on the loopback
// interface, and no controllers.
//
// Takes kube-apiserver's flags, of which `--secure-port=0` is any port, and `--home`, a folder. Prints `LISTENING <host:port>`
// when connections are accepted; `/readyz` tells when it is ready. A line `compact` on its standard input makes etcd forget
// the past, answered with `COMPACTED`. At the end of its standard input it removes its folder and ends.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

const etcdStartLimit = 2 * time.Minute

// startEtcd runs an etcd of one member.
func startEtcd(dir string) (*embed.Etcd, error) {
	anyPort := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	config := embed.NewConfig()
	config.Dir = dir
	config.LogLevel = "error"
	config.ListenClientUrls = []url.URL{anyPort}
	config.ListenPeerUrls = []url.URL{anyPort}
	// Nothing has to survive a crash of the machine.
	config.UnsafeNoFsync = true
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case err := <-etcd.Err():
		return nil, err
	case <-time.After(etcdStartLimit):
		return nil, fmt.Errorf("not ready within %s", etcdStartLimit)
	}
}

// configure reads the flags, starts etcd, and opens the port of the API server.
func configure(ctx context.Context) (options.CompletedOptions, error) {
	server := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ExitOnError)
	for _, set := range server.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	home := flags.String("home", "", "folder for etcd's files, removed at the end")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return options.CompletedOptions{}, err
	}
	etcd, err := startEtcd(filepath.Join(*home, "etcd"))
	if err != nil {
		return options.CompletedOptions{}, fmt.Errorf("start etcd: %w", err)
	}
	go followInput(*home, etcd)
	server.Etcd.StorageConfig.Transport.ServerList = []string{"http://" + etcd.Clients[0].Addr().String()}

	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(server.SecureServing.BindPort))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return options.CompletedOptions{}, err
	}
	server.SecureServing.Listener = listener
	server.SecureServing.BindPort = listener.Addr().(*net.TCPAddr).Port

	if err := server.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return options.CompletedOptions{}, err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	completed, err := server.Complete(ctx)
	if err != nil {
		return options.CompletedOptions{}, err
	}
	for _, err := range completed.Validate() {
		return options.CompletedOptions{}, err
	}
	fmt.Printf("LISTENING %s\n", listener.Addr())
	return completed, nil
}

// followInput does what is asked for on the standard input, and ends the process at its end, when whoever started it is gone.
func followInput(home string, etcd *embed.Etcd) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if lines.Text() != "compact" {
			log.Fatalf("unknown request: %q", lines.Text())
		}
		request := &etcdserverpb.CompactionRequest{Revision: etcd.Server.KV().Rev(), Physical: true}
		if _, err := etcd.Server.Compact(context.Background(), request); err != nil {
			log.Fatal(err)
		}
		fmt.Println("COMPACTED")
	}
	_ = os.RemoveAll(home)
	os.Exit(0)
}

func main() {
	ctx := context.Background()
	completed, err := configure(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if err := app.Run(ctx, completed); err != nil {
		log.Fatal(err)
	}
}
