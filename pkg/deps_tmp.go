package pkg
import (
 _ "go.uber.org/zap"
 _ "go.uber.org/goleak"
 _ "github.com/prometheus/client_golang/prometheus"
 _ "github.com/prometheus/client_golang/prometheus/promhttp"
 _ "gopkg.in/yaml.v3"
 _ "google.golang.org/grpc"
 _ "golang.org/x/tools/go/packages"
)
