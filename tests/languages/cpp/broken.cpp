#include <vector>

int main() {
    std::vector<int> numbers = "not numbers";
}
