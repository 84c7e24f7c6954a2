package pkg

import (
	_ "github.com/prometheus/client_golang/prometheus"
	_ "github.com/prometheus/client_golang/prometheus/promhttp"
	_ "go.uber.org/goleak"
	_ "go.uber.org/zap"
	_ "golang.org/x/tools/go/packages"
	_ "google.golang.org/grpc"
	_ "gopkg.in/yaml.v3"
)
