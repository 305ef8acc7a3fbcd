//! Templates and expressions: which names they use, and what they come to in a scope.

use serde_json::Value;

use crate::{problem::Problem, runbook::Expr, tree::Node};

/// The tree with every template filled in; spans are kept, so that a bad value is reported at its template.
pub fn render(node: &Node, scope: &Value) -> Result<Node, Problem> {
    let _ = (node, scope);
    todo!()
}

/// What a condition says. Anything but a boolean, an undefined name above all, is a problem.
pub fn condition(expr: &Expr, scope: &Value) -> Result<bool, Problem> {
    let _ = (expr, scope);
    todo!()
}

pub fn names(_: &Node) -> Vec<(crate::problem::Span, String)> { todo!() }
pub fn names_in(_: &Expr) -> Vec<String> { todo!() }
