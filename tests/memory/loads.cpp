// Loads models as llama-server does and says, on stderr, what llama.cpp allocates for them.
//
// usage: loads MODEL CONTEXT SLOTS KEYS VALUES [RPC SPLIT EXPERTS]
//
// SLOTS 0 is the server's own choice: four that share one cache. RPC are addresses of servers of the RPC backend, each of
// which plays a card; EXPERTS of so many layers stay in main memory.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "ggml-backend.h"
#include "ggml.h"
#include "llama.h"

static ggml_type type_of(const char * name) {
    for (int i = 0; i < GGML_TYPE_COUNT; i++) {
        const char * known = ggml_type_name((ggml_type) i);
        if (known && strcmp(known, name) == 0) {
            return (ggml_type) i;
        }
    }
    fprintf(stderr, "no type %s\n", name);
    exit(2);
}

static std::vector<std::string> parts(const char * text) {
    std::vector<std::string> found(1);
    for (; *text; text++) {
        if (*text == ',') {
            found.emplace_back();
        } else {
            found.back() += *text;
        }
    }
    return found;
}

int main(int argc, char ** argv) {
    if (argc < 6) {
        return 2;
    }
    llama_backend_init();
    ggml_backend_load_all();

    llama_model_params model_params = llama_model_default_params();
    model_params.load_mode       = LLAMA_LOAD_MODE_NONE; // without mmap a buffer is as large as its tensors
    model_params.use_extra_bufts = false;
    std::vector<ggml_backend_dev_t> devices;
    std::vector<float> split(llama_max_devices(), 0.0f);
    std::vector<std::string> patterns;
    std::vector<llama_model_tensor_buft_override> overrides;
    if (argc > 8) {
        ggml_backend_reg_t rpc = ggml_backend_reg_by_name("RPC");
        typedef ggml_backend_reg_t (*add_server_t)(const char *);
        auto add_server = (add_server_t) ggml_backend_reg_get_proc_address(rpc, "ggml_backend_rpc_add_server");
        for (const std::string & address : parts(argv[6])) {
            ggml_backend_reg_t server = add_server(address.c_str());
            ggml_backend_register(server);
            devices.push_back(ggml_backend_reg_dev_get(server, 0));
        }
        devices.push_back(nullptr);
        size_t at = 0;
        for (const std::string & share : parts(argv[7])) {
            split[at++] = strtof(share.c_str(), nullptr);
        }
        // As common/arg.cpp makes them of --n-cpu-moe.
        for (int layer = 0; layer < atoi(argv[8]); layer++) {
            patterns.push_back("blk\\." + std::to_string(layer) + "\\.ffn_(up|down|gate|gate_up)_(ch|)exps");
        }
        for (const std::string & pattern : patterns) {
            overrides.push_back({ pattern.c_str(), ggml_backend_cpu_buffer_type() });
        }
        overrides.push_back({ nullptr, nullptr });
        model_params.devices               = devices.data();
        model_params.tensor_split          = split.data();
        model_params.n_gpu_layers          = 999;
        model_params.tensor_buft_overrides = overrides.data();
    }
    llama_model * model = llama_model_load_from_file(argv[1], model_params);
    if (!model) {
        return 1;
    }
    // What llama-server sets of its own accord (common_context_params_to_llama, server_output_limits).
    const int slots = atoi(argv[3]);
    llama_context_params context_params = llama_context_default_params();
    context_params.n_ctx                 = (uint32_t) atoi(argv[2]);
    context_params.n_batch               = 2048;
    context_params.n_ubatch              = 512;
    context_params.n_seq_max             = slots > 0 ? slots : 4;
    context_params.kv_unified            = slots == 0;
    context_params.n_outputs_max         = context_params.n_seq_max;
    context_params.n_outputs_max_per_seq = 1;
    context_params.swa_full              = false;
    context_params.flash_attn_type       = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    context_params.type_k                = type_of(argv[4]);
    context_params.type_v                = type_of(argv[5]);
    llama_context * context = llama_init_from_model(model, context_params);
    if (!context) {
        return 1;
    }
    fprintf(stderr, "LOADED\n");
    fflush(nullptr);
    _Exit(0);
}
