// Writes a small model with random weights for every architecture that llama.cpp's own test knows how to make:
// make_models DIR
#define main test_main
#include "tests/test-llama-archs.cpp"
#undef main

// What the test needs of llama.cpp's program library, which is not linked: it takes longer to build than all the rest.
void common_init() {}

bool tty_can_use_colors() {
    return false;
}

bool tty_enable_ansi() {
    return false;
}

int main(int argc, char ** argv) {
    ggml_backend_load_all();
    return argc == 2 ? save_models("", 1234, 0.1f, 0, argv[1]) : 2;
}
