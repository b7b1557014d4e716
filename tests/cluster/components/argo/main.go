// Command argo does one operation of Argo CD's application controller and ends.
//
// It drives gitops-engine, the library in which Argo CD keeps its sync (phases, hooks, waves, pruning, health), as the
// controller's SyncAppState does: before every step the live state is compared anew, and the operation goes on from
// the results so far. What is missing of Argo CD: the repository server (the caller renders), the Application object
// with its retries and automation, project permissions, ignoreDifferences and the health scripts of foreign kinds.
//
//	argo sync APP NAMESPACE <rendered.yaml    the operation's result as JSON; status 1 if it did not succeed
//	argo delete APP NAMESPACE                 what the Application's finalizer does
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/argoproj/gitops-engine/pkg/cache"
	"github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/argoproj/gitops-engine/pkg/sync"
	"github.com/argoproj/gitops-engine/pkg/sync/common"
	"github.com/argoproj/gitops-engine/pkg/sync/resource"
	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/gitops-engine/pkg/utils/tracing"
	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// Argo CD finds what is its own by this annotation, and keeps a claim by the others (argo-cd controller/appcontroller.go).
const (
	trackingAnnotation  = "argocd.argoproj.io/tracking-id"
	syncOptions         = "argocd.argoproj.io/sync-options"
	helmResourcePolicy  = "helm.sh/resource-policy"
	pauseBetweenWaves   = 2 * time.Second
	pauseBetweenSteps   = time.Second
	patienceForDeletion = 2 * time.Minute
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "argo:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 3 {
		return errors.New("usage: argo sync|delete APP NAMESPACE")
	}
	klog.SetOutput(io.Discard)
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 50, 100
	app := newApplication(config, arguments[1], arguments[2])
	if err := app.cluster.EnsureSynced(); err != nil {
		return err
	}
	switch arguments[0] {
	case "sync":
		return app.sync(os.Stdin)
	case "delete":
		return app.delete()
	}
	return fmt.Errorf("no command %q", arguments[0])
}

type application struct {
	name, namespace string
	config          *rest.Config
	kubectl         kube.Kubectl
	cluster         cache.ClusterCache
	log             logr.Logger
}

func newApplication(config *rest.Config, name, namespace string) *application {
	log := logr.Discard()
	cluster := cache.NewClusterCache(config,
		cache.SetNamespaces([]string{namespace}),
		cache.SetLogr(log),
		// The manifests of objects with a tracking annotation are kept; its value is what isManaged asks for.
		cache.SetPopulateResourceInfoHandler(func(object *unstructured.Unstructured, _ bool) (any, bool) {
			tracking := object.GetAnnotations()[trackingAnnotation]
			return tracking, tracking != ""
		}),
	)
	return &application{name, namespace, config, &kube.KubectlCmd{Log: log, Tracer: tracing.NopTracer{}}, cluster, log}
}

func (a *application) trackingID(group, kind, name string) string {
	return fmt.Sprintf("%s:%s/%s:%s/%s", a.name, group, kind, a.namespace, name)
}

// isManaged compares the whole value: a ReplicaSet has its Deployment's annotations.
func (a *application) isManaged(found *cache.Resource) bool {
	key := found.ResourceKey()
	return found.Info == a.trackingID(key.Group, key.Kind, key.Name)
}

func (a *application) targets(manifests io.Reader) ([]*unstructured.Unstructured, error) {
	text, err := io.ReadAll(manifests)
	if err != nil {
		return nil, err
	}
	objects, err := kube.SplitYAML(text)
	if err != nil {
		return nil, err
	}
	for _, object := range objects {
		annotations := object.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		kind := object.GroupVersionKind()
		annotations[trackingAnnotation] = a.trackingID(kind.Group, kind.Kind, object.GetName())
		object.SetAnnotations(annotations)
	}
	return objects, nil
}

// operation is what the controller keeps in the Application's status between two steps.
type operation struct {
	Phase     common.OperationPhase
	Message   string
	Resources []common.ResourceSyncResult
	started   metav1.Time
}

func (a *application) sync(manifests io.Reader) error {
	targets, err := a.targets(manifests)
	if err != nil {
		return err
	}
	done := operation{Phase: common.OperationRunning, started: metav1.Now()}
	for {
		if err := a.step(targets, &done); err != nil {
			return err
		}
		if done.Phase.Completed() {
			break
		}
		time.Sleep(pauseBetweenSteps)
	}
	if err := json.NewEncoder(os.Stdout).Encode(done); err != nil {
		return err
	}
	if done.Phase != common.OperationSucceeded {
		return fmt.Errorf("sync %s: %s", done.Phase, done.Message)
	}
	return nil
}

// step compares and goes one step on, with the options that SyncAppState gives for the chart's example Application:
// prune, ApplyOutOfSyncOnly, client-side apply, foreground pruning.
func (a *application) step(targets []*unstructured.Unstructured, done *operation) error {
	copies := make([]*unstructured.Unstructured, len(targets))
	for i, target := range targets {
		copies[i] = target.DeepCopy()
	}
	live, err := a.cluster.GetManagedLiveObjs(copies, a.isManaged)
	if err != nil {
		return err
	}
	compared := sync.Reconcile(copies, live, a.namespace, a.cluster)
	differences, err := diff.DiffArray(compared.Target, compared.Live, diff.WithLogr(a.log))
	if err != nil {
		return err
	}
	foreground := metav1.DeletePropagationForeground
	syncing, cleanup, err := sync.NewSyncContext("", compared, a.config, a.config, a.kubectl, a.namespace, a.cluster.GetOpenAPISchema(),
		sync.WithLogr(a.log),
		sync.WithOperationSettings(false, true, false, false),
		sync.WithInitialState(done.Phase, done.Message, done.Resources, done.started),
		sync.WithManifestValidation(true),
		sync.WithSyncWaveHook(pauseAfterWave),
		sync.WithResourceModificationChecker(true, differences),
		sync.WithPrunePropagationPolicy(&foreground),
	)
	if err != nil {
		return err
	}
	defer cleanup()
	syncing.Sync()
	done.Phase, done.Message, done.Resources = syncing.GetState()
	return nil
}

func pauseAfterWave(_ common.SyncPhase, _ int, last bool) error {
	if !last {
		time.Sleep(pauseBetweenWaves)
	}
	return nil
}

// delete removes what the application manages, as finalizeApplicationDeletion does, and waits until it is gone.
func (a *application) delete() error {
	deadline := time.Now().Add(patienceForDeletion)
	for {
		live, err := a.cluster.GetManagedLiveObjs(nil, a.isManaged)
		if err != nil {
			return err
		}
		left := 0
		for key, object := range live {
			if isKept(object) {
				continue
			}
			left++
			if object.GetDeletionTimestamp() != nil {
				continue
			}
			foreground := metav1.DeletePropagationForeground
			options := metav1.DeleteOptions{PropagationPolicy: &foreground}
			err := a.kubectl.DeleteResource(context.Background(), a.config, object.GroupVersionKind(), key.Name, key.Namespace, options)
			if err != nil {
				return err
			}
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d objects are still there", left)
		}
		time.Sleep(pauseBetweenSteps)
	}
}

func isKept(object *unstructured.Unstructured) bool {
	return resource.HasAnnotationOption(object, syncOptions, "Delete=false") ||
		resource.HasAnnotationOption(object, helmResourcePolicy, "keep")
}
