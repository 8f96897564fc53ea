#include <iostream>
#include <span>

int main() {
    int numbers[] = {1, 2};
    std::cout << "span of " << std::span(numbers).size() << '\n';
}
