"""Jupyter's own conformance suite for kernels, on ours."""

import jupyter_kernel_test

PRELUDE = ':dep quantlens-prelude = { path = "../../prelude" }\nuse quantlens_prelude::*;\n'


class Conformance(jupyter_kernel_test.KernelTests):
    kernel_name = "quantlens"
    language_name = "rust"
    file_extension = ".rs"
    code_hello_world = 'println!("hello, world");'
    code_stderr = 'eprintln!("to stderr");'
    completion_samples = [
        {"text": "let text = String::from_utf8_lo", "matches": {"from_utf8_lossy"}},
        {"text": PRELUDE + "Scheme::asymm", "matches": {"asymmetric"}},
    ]
    complete_code_samples = ["1 + 1", "let x = 5;", 'println!("{}", "(");', "fn f() {}", "// half a (comment", ""]
    incomplete_code_samples = ["fn f() {", "let v = vec![1,", 'let s = "open', "/* open", "foo("]
    invalid_code_samples = ["}", "foo)", "(]"]
    code_generate_error = 'panic!("on purpose");'
    code_execute_result = [
        {"code": "6 * 7", "result": "42"},
        {"code": '"text"', "result": '"text"'},
        {"code": "vec![1, 2]", "result": "[1, 2]"},
    ]
    code_display_data = [
        {"code": PRELUDE + 'show(&df!["a" => [1, 2]]?);', "mime": "text/html"},
        {"code": PRELUDE + 'show(&Tensor::from_vec("x", vec![1.0])?);', "mime": "text/plain"},
    ]
    code_inspect_sample = "String"
    code_history_pattern = "6*7"
    supported_history_operations = ("tail", "range", "search")
