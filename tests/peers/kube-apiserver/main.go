// A Kubernetes control plane in one process, for tests: the real kube-apiserver over a real etcd, both on the loopback
// interface, and no controllers.
//
// Takes kube-apiserver's flags, of which `--secure-port=0` is any port, and `--etcd-dir`. Prints `LISTENING <host:port>` when
// connections are accepted; `/readyz` tells when it is ready. At the end of its standard input it removes etcd's files and
// ends.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

const etcdStartLimit = 2 * time.Minute

// startEtcd runs an etcd of one member and returns the address for its clients.
func startEtcd(dir string) (string, error) {
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
		return "", err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return "http://" + etcd.Clients[0].Addr().String(), nil
	case err := <-etcd.Err():
		return "", err
	case <-time.After(etcdStartLimit):
		return "", fmt.Errorf("not ready within %s", etcdStartLimit)
	}
}

// configure reads the flags, starts etcd, and opens the port of the API server.
func configure(ctx context.Context) (options.CompletedOptions, error) {
	server := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ExitOnError)
	for _, set := range server.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	dir := flags.String("etcd-dir", "", "folder for etcd's files")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return options.CompletedOptions{}, err
	}
	go endWithInput(*dir)

	etcd, err := startEtcd(*dir)
	if err != nil {
		return options.CompletedOptions{}, fmt.Errorf("start etcd: %w", err)
	}
	server.Etcd.StorageConfig.Transport.ServerList = []string{etcd}

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

// endWithInput ends the process at the end of its standard input, when whoever started it is gone.
func endWithInput(dir string) {
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = os.RemoveAll(dir)
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
