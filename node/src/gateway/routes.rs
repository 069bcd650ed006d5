//! A router that remembers its routes and what they say of themselves, so that a test can try
//! every door there is and the API can describe itself.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodRouter, delete as axum_delete, get as axum_get};
use axum::routing::{post as axum_post, put as axum_put};

use crate::gateway::doors::Doors;
use crate::gateway::openapi::{Described, Draft};

/// One method of one path.
pub(crate) struct Operation {
    /// In lower case.
    pub(crate) method: &'static str,
    /// From the root, with placeholders.
    pub(crate) path: String,
    /// A name for those who generate code.
    pub(crate) id: &'static str,
    /// A sentence for people.
    pub(crate) says: &'static str,
    /// Writes down what its handler takes and answers.
    pub(crate) describe: Box<dyn Fn(&mut Draft<'_>)>,
}

/// The methods of a path.
pub(crate) struct Methods {
    router: MethodRouter<Doors>,
    operations: Vec<Operation>,
}

macro_rules! method {
    ($name:ident, $axum:ident, $word:literal) => {
        /// Answers that method with a handler whose signature describes it.
        pub(crate) fn $name<H, A, B>(id: &'static str, says: &'static str, handler: H) -> Methods
        where
            H: Handler<A, Doors> + Described<B>,
            A: 'static,
        {
            let describe = Box::new(|draft: &mut Draft<'_>| <H as Described<B>>::describe(draft));
            Methods::one($word, id, says, $axum(handler), describe)
        }
    };
}

method!(get, axum_get, "get");
method!(put, axum_put, "put");
method!(post, axum_post, "post");
method!(delete, axum_delete, "delete");

/// Answers GET with a handler whose signature says nothing to a client: a text of that media type,
/// or something else than a body where that is empty.
pub(crate) fn text<H, A>(
    id: &'static str,
    says: &'static str,
    status: u16,
    media: &'static str,
    handler: H,
) -> Methods
where
    H: Handler<A, Doors>,
    A: 'static,
{
    let describe = Box::new(move |draft: &mut Draft<'_>| draft.text(status, media, says));
    Methods::one("get", id, says, axum_get(handler), describe)
}

impl Methods {
    fn one(
        method: &'static str,
        id: &'static str,
        says: &'static str,
        router: MethodRouter<Doors>,
        describe: Box<dyn Fn(&mut Draft<'_>)>,
    ) -> Self {
        let operation = Operation { method, path: String::new(), id, says, describe };
        Self { router, operations: vec![operation] }
    }

    /// These, and another.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.operations.extend(other.operations);
        Self { router: self.router.merge(other.router), ..self }
    }

    /// It may also answer that.
    pub(crate) fn or(mut self, more: impl Fn(&mut Draft<'_>) + 'static) -> Self {
        if let Some(last) = self.operations.pop() {
            let Operation { describe, .. } = last;
            let describe = Box::new(move |draft: &mut Draft<'_>| {
                describe(draft);
                more(draft);
            });
            self.operations.push(Operation { describe, ..last });
        }
        self
    }
}

/// Routes and what they say of themselves.
pub(crate) struct Routes {
    router: Router<Doors>,
    operations: Vec<Operation>,
}

impl Routes {
    /// No routes.
    pub(crate) fn new() -> Self {
        Self { router: Router::new(), operations: Vec::new() }
    }

    /// Adds a path with what its methods do.
    pub(crate) fn route(mut self, path: &str, methods: Methods) -> Self {
        let Methods { router, operations } = methods;
        let here = operations.into_iter().map(|one| Operation { path: path.to_owned(), ..one });
        self.operations.extend(here);
        Self { router: self.router.route(path, router), ..self }
    }

    /// Adds others as they are.
    pub(crate) fn merge(mut self, others: Self) -> Self {
        self.operations.extend(others.operations);
        Self { router: self.router.merge(others.router), ..self }
    }

    /// Adds others below a path.
    pub(crate) fn nest(mut self, path: &str, others: Self) -> Self {
        let below = |inner: Operation| {
            let end = if inner.path == "/" { "" } else { inner.path.as_str() };
            Operation { path: format!("{path}{end}"), ..inner }
        };
        self.operations.extend(others.operations.into_iter().map(below));
        Self { router: self.router.nest(path, others.router), ..self }
    }

    /// Every method of every path.
    pub(crate) fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The router.
    pub(crate) fn into_router(self) -> Router<Doors> {
        self.router
    }
}
