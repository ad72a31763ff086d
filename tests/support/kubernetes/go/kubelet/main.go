// A kubelet's exec, and no more of a kubelet: the streaming server of k8s.io/kubelet, which runs
// the command of a pod on this machine. A container is a file COMMANDS/NAMESPACE/POD/CONTAINER of
// lines name=value, the environment of what runs in it.
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	protocols "k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/client-go/tools/remotecommand"
	streaming "k8s.io/kubelet/pkg/cri/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// container runs commands with its environment.
type container struct{ environment []string }

func (one container) ExecInContainer(ctx context.Context, _ string, _ types.UID, _ string, command []string, in io.Reader, out, err io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	path := ""
	for _, line := range one.environment {
		if folders, found := strings.CutPrefix(line, "PATH="); found {
			for _, folder := range filepath.SplitList(folders) {
				if _, missing := os.Stat(filepath.Join(folder, command[0])); missing == nil && path == "" {
					path = filepath.Join(folder, command[0])
				}
			}
		}
	}
	if path == "" {
		// runc's words, which containerd passes on.
		return errors.New("failed to exec in container: failed to start exec: OCI runtime exec failed: exec failed: unable to start container process: exec: \"" + command[0] + "\": executable file not found in $PATH: unknown")
	}
	process := exec.CommandContext(ctx, path, command[1:]...)
	process.Env = one.environment
	process.Stdin, process.Stdout, process.Stderr = in, out, err
	failure := process.Run()
	var exit *exec.ExitError
	if errors.As(failure, &exit) {
		return utilexec.CodeExitError{Err: exit, Code: exit.ExitCode()}
	}
	return failure
}

func main() {
	address, certificate, key, commands := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	handler := http.NewServeMux()
	handler.HandleFunc("/exec/{namespace}/{pod}/{container}", func(writer http.ResponseWriter, request *http.Request) {
		pod, name := request.PathValue("pod"), request.PathValue("container")
		text, missing := os.ReadFile(filepath.Join(commands, request.PathValue("namespace"), pod, name))
		if missing != nil {
			http.Error(writer, "container not found (\""+name+"\")", http.StatusNotFound)
			return
		}
		options, bad := streaming.NewOptions(request)
		if bad != nil {
			http.Error(writer, bad.Error(), http.StatusBadRequest)
			return
		}
		one := container{environment: strings.Split(strings.TrimSpace(string(text)), "\n")}
		streaming.ServeExec(writer, request, one, pod, "", name, request.URL.Query()["command"], options, time.Hour, 30*time.Second, protocols.SupportedStreamingProtocols)
	})
	log.Fatal(http.ListenAndServeTLS(address, certificate, key, handler))
}
