//! A router that remembers its paths, so that a test can try every door there is.

use axum::Router;
use axum::routing::MethodRouter;

use crate::gateway::doors::Doors;

/// Routes and their paths.
pub(crate) struct Routes {
    router: Router<Doors>,
    paths: Vec<String>,
}

impl Routes {
    /// No routes.
    pub(crate) fn new() -> Self {
        Self { router: Router::new(), paths: Vec::new() }
    }

    /// Adds a path with what its methods do.
    pub(crate) fn route(mut self, path: &str, methods: MethodRouter<Doors>) -> Self {
        self.paths.push(path.to_owned());
        Self { router: self.router.route(path, methods), ..self }
    }

    /// Adds others as they are.
    pub(crate) fn merge(mut self, others: Self) -> Self {
        self.paths.extend(others.paths);
        Self { router: self.router.merge(others.router), ..self }
    }

    /// Adds others below a path.
    pub(crate) fn nest(mut self, path: &str, others: Self) -> Self {
        let below = |inner: String| {
            let inner = if inner == "/" { "" } else { inner.as_str() };
            format!("{path}{inner}")
        };
        self.paths.extend(others.paths.into_iter().map(below));
        Self { router: self.router.nest(path, others.router), ..self }
    }

    /// The path of every route.
    #[cfg(test)]
    pub(crate) fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The router.
    pub(crate) fn into_router(self) -> Router<Doors> {
        self.router
    }
}
