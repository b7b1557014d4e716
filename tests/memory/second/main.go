// What gguf-parser-go estimates for a model: a second judge of the arithmetic.
package main

import (
	"encoding/json"
	"flag"
	"os"

	parser "github.com/gpustack/gguf-parser-go"
)

func main() {
	context := flag.Int("context", 4096, "tokens of all slots")
	slots := flag.Int("slots", 1, "slots")
	keys := flag.String("keys", "f16", "type of cached keys")
	values := flag.String("values", "f16", "type of cached values")
	flag.Parse()
	file, err := parser.ParseGGUFFile(flag.Arg(0))
	if err != nil {
		panic(err)
	}
	types := map[string]parser.GGMLType{
		"f32": parser.GGMLTypeF32, "f16": parser.GGMLTypeF16, "q8_0": parser.GGMLTypeQ8_0, "q4_0": parser.GGMLTypeQ4_0,
	}
	estimate := file.EstimateLLaMACppRun(
		parser.WithLLaMACppContextSize(int32(*context)),
		parser.WithParallelSize(int32(*slots)),
		parser.WithLLaMACppCacheKeyType(types[*keys]),
		parser.WithLLaMACppCacheValueType(types[*values]),
		parser.WithFlashAttention(),
	)
	json.NewEncoder(os.Stdout).Encode(estimate)
}
